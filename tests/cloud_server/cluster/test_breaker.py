"""The circuit breaker, on a clock of the test's."""

from __future__ import annotations

from cloud_server.cluster.breaker import FIRST_WAIT_S, LONGEST_WAIT_S, Breaker


def test_one_failure_is_no_reason_to_stop_calling():
    breaker = Breaker(failures=2)
    breaker.failed(0.0)
    assert not breaker.is_open and breaker.may_call(0.0)


def test_failures_in_a_row_open_it_and_one_call_is_tried_when_the_wait_is_over():
    breaker = Breaker(failures=2)
    breaker.failed(0.0)
    breaker.failed(0.0)
    assert breaker.is_open
    assert not breaker.may_call(FIRST_WAIT_S - 0.001)
    assert breaker.may_call(FIRST_WAIT_S)
    assert not breaker.may_call(FIRST_WAIT_S)  # while its outcome is not known


def test_a_success_closes_it_and_begins_to_count_anew():
    breaker = Breaker(failures=2)
    breaker.failed(0.0)
    breaker.succeeded()
    breaker.failed(0.0)
    assert not breaker.is_open


def test_every_trial_that_fails_doubles_the_wait_up_to_the_longest():
    breaker = Breaker(failures=1)
    now = 0.0
    breaker.failed(now)
    waits = []
    for _ in range(6):
        wait_s = next(w for w in (1, 2, 4, 8, 10, 16) if breaker.may_call(now + w))
        waits.append(wait_s)
        now += wait_s
        breaker.failed(now)
    assert waits == [1, 2, 4, 8, 10, 10]
    assert waits[-1] == LONGEST_WAIT_S


def test_a_success_makes_the_next_wait_short_again():
    breaker = Breaker(failures=1)
    for now in (0.0, 1.0, 3.0):
        breaker.failed(now)
    breaker.succeeded()
    breaker.failed(10.0)
    assert breaker.may_call(10.0 + FIRST_WAIT_S)
