"""A batch lasts no longer than the others bear, and nobody can make all of them short."""

from __future__ import annotations

import math

from cloud_server.scheduling.batcher import Batcher, Request
from cloud_server.scheduling.patience import FLOOR_S, MAX_GROUPS, Patience
from cloud_server.scheduling.payer import Payer


def test_who_is_alone_has_no_bound_and_half_of_the_shortest_deadline_is_the_others():
    patience = Patience()
    patience.seen("a", 0.0, 0.4)
    assert math.isinf(patience.longest_s(1.0))
    patience.seen("b", 0.0, math.inf)
    assert patience.longest_s(1.0) == 0.2
    assert math.isinf(patience.longest_s(10.1))


def test_an_impossible_deadline_changes_little_and_groups_are_bounded():
    patience = Patience()
    for number in range(2 * MAX_GROUPS):
        patience.seen(number, 0.0, 0.001)
    assert patience.longest_s(0.0) == FLOOR_S and len(patience._seen) == MAX_GROUPS


def test_a_flood_gets_small_batches_beside_a_device_with_a_deadline():
    batcher: Batcher[Request] = Batcher(8, 64)
    for size in (1, 8, 1, 8):
        batcher.observe("image", size, 0.06 * size)

    def come(group: str, deadline: float) -> None:
        request = Request("image", 0.0, deadline, Payer(group))
        batcher.admit(request)
        batcher.ready(request, 0.0)

    for _ in range(8):
        come("flood", math.inf)
    assert len(batcher.take(0.0).requests) == 8
    for _ in range(8):
        come("flood", math.inf)
    come("honest", 0.4)
    assert len(batcher.take(0.0).requests) <= 3
