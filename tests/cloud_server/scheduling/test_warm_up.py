"""What a model runs before it is needed."""

from __future__ import annotations

import pytest

from cloud_server.scheduling.warm_up import WarmUpRun, warm_up_runs


@pytest.mark.parametrize(("largest", "sizes"), [(1, [1]), (3, [1, 2, 3]), (8, [1, 2, 4, 8]), (12, [1, 2, 4, 8, 12])])
def test_where_only_the_first_batch_is_slow_powers_of_two_show_what_a_frame_costs(largest, sizes):
    first, *others = warm_up_runs(largest, each_size_differs=False)
    assert first == WarmUpRun(1, first=True)
    assert others == [WarmUpRun(size, first=False) for size in sizes]


@pytest.mark.parametrize(
    ("largest", "sizes"), [(1, [1]), (3, [1, 2, 3]), (64, [*range(1, 17), 64]), (100, [*range(1, 17), 64, 100])]
)
def test_where_every_size_is_slow_the_first_time_each_runs_twice_and_large_ones_by_powers(largest, sizes):
    runs = warm_up_runs(largest, each_size_differs=True)
    assert runs == [WarmUpRun(size, first) for size in sizes for first in (True, False)]
