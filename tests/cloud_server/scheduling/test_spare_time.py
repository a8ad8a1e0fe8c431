"""When the engine may do something else than frames."""

from __future__ import annotations

import math

import pytest

from cloud_server.scheduling.spare_time import PATIENCE_S, WINDOW_S, Allowances, Step, Verdict, spare_s, verdict


def step(expected_s: float = 0.1, optional: bool = False) -> Step:
    return Step(lambda: None, 100.0, expected_s, optional)


def test_a_step_is_taken_when_no_frame_waits():
    for optional in (False, True):
        assert verdict(step(optional=optional), 100.0, idle=True, spare_s=0.1) is Verdict.TAKE


def test_a_step_waits_for_frames():
    for optional in (False, True):
        assert verdict(step(optional=optional), 100.0 + 0.9 * PATIENCE_S, idle=False, spare_s=9.0) is Verdict.WAIT


def test_a_necessary_step_is_taken_in_the_end_though_frames_never_cease():
    assert verdict(step(), 100.0 + PATIENCE_S, idle=False, spare_s=9.0) is Verdict.TAKE


def test_an_optional_step_is_dropped_in_the_end():
    assert verdict(step(optional=True), 100.0 + PATIENCE_S, idle=False, spare_s=9.0) is Verdict.DROP


def test_a_step_that_takes_too_long_is_dropped_at_once_if_it_is_optional():
    assert verdict(step(0.3, optional=True), 100.0, idle=True, spare_s=0.2) is Verdict.DROP
    assert verdict(step(0.3), 100.0, idle=True, spare_s=0.2) is Verdict.TAKE  # it would take no less time later


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


def test_whoever_waits_for_a_step_hears_what_became_of_it():
    taken, left_out, cancelled, broken = (step() for _ in range(4))
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
