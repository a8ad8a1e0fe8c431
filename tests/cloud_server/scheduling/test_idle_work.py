"""Work in the moments when no frame waits, and what a new model runs before it is needed."""

from __future__ import annotations

import math

import pytest

from cloud_server.scheduling.idle_work import (
    PATIENCE_S,
    WINDOW_S,
    Allowances,
    IdleTask,
    Verdict,
    WarmUpRun,
    spare_s,
    warm_up_runs,
)


def task(expected_s: float = 0.1, optional: bool = False) -> IdleTask:
    return IdleTask(lambda: None, 100.0, expected_s, optional)


def test_a_task_is_taken_when_no_frame_waits():
    for optional in (False, True):
        assert task(optional=optional).verdict(100.0, idle=True, spare_s=0.1) is Verdict.TAKE


def test_a_task_waits_for_frames():
    for optional in (False, True):
        assert task(optional=optional).verdict(100.0 + 0.9 * PATIENCE_S, idle=False, spare_s=9.0) is Verdict.WAIT


def test_a_necessary_task_is_taken_in_the_end_though_frames_never_cease():
    assert task().verdict(100.0 + PATIENCE_S, idle=False, spare_s=9.0) is Verdict.TAKE


def test_an_optional_task_is_dropped_in_the_end():
    assert task(optional=True).verdict(100.0 + PATIENCE_S, idle=False, spare_s=9.0) is Verdict.DROP


def test_a_task_that_takes_too_long_is_dropped_at_once_if_it_is_optional():
    assert task(0.3, optional=True).verdict(100.0, idle=True, spare_s=0.2) is Verdict.DROP
    assert task(0.3).verdict(100.0, idle=True, spare_s=0.2) is Verdict.TAKE  # it would take no less time later


def test_half_of_what_a_lone_frame_has_left_can_be_spared():
    assert spare_s(0.5, 0.1) == pytest.approx(0.2)
    assert spare_s(0.1, 0.5) == 0.0
    assert spare_s(math.inf, 0.1) == math.inf


def test_the_least_allowance_of_late_is_known():
    allowances = Allowances()
    assert allowances.least_s(0.0) == math.inf
    allowances.observe(10.2, 0.5)
    allowances.observe(10.4, 0.2)
    allowances.observe(10.6, 0.9)
    allowances.observe(12.0, 0.4)
    assert allowances.least_s(12.0) == 0.2
    assert allowances.least_s(10.9 + WINDOW_S) == 0.2  # whole seconds are forgotten
    assert allowances.least_s(11.0 + WINDOW_S) == allowances.least_s(12.9 + WINDOW_S) == 0.4
    assert allowances.least_s(13.0 + WINDOW_S) == math.inf


def test_what_is_remembered_is_bounded():
    allowances = Allowances()
    for second in range(1000):
        allowances.observe(second, 1.0 + second)
    assert len(allowances._least) == WINDOW_S + 1
    assert allowances.least_s(999.0) == 1.0 + 999 - WINDOW_S


def test_whoever_waits_for_a_task_hears_what_became_of_it():
    taken, left_out, cancelled, broken = (task() for _ in range(4))
    done: list[str] = []
    taken.action = lambda: done.append("taken")
    left_out.action = cancelled.action = lambda: done.append("never")
    broken.action = lambda: 1 // 0
    taken.settle(Verdict.TAKE)
    left_out.settle(Verdict.DROP)
    assert cancelled.done.cancel()
    cancelled.settle(Verdict.TAKE)
    broken.settle(Verdict.TAKE)
    assert done == ["taken"] and taken.done.result(0) is True and left_out.done.result(0) is False
    assert isinstance(broken.done.exception(0), ZeroDivisionError)


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
