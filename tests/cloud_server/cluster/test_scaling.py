"""How many replicas a load needs, on a clock of the test's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud_server.cluster.scaling import BUSY, CALM_S, QUEUE_S, Load, Scaling


def test_a_queue_that_takes_too_long_asks_for_more_in_proportion():
    assert Scaling(1, 64).wanted(4, Load(queue_s=1.25 * QUEUE_S), now=0.0) == 5


def test_one_step_doubles_at_most():
    assert Scaling(1, 64).wanted(4, Load(queue_s=50 * QUEUE_S), now=0.0) == 8


def test_there_are_never_more_than_allowed_nor_fewer():
    assert Scaling(1, 5).wanted(4, Load(queue_s=50 * QUEUE_S), now=0.0) == 5
    assert Scaling(3, 5).wanted(1, Load(), now=0.0) == 3


def test_replicas_that_are_busy_get_help_before_a_queue_forms():
    assert Scaling(1, 64).wanted(2, Load(busy=2.2 * BUSY), now=0.0) == 3


def test_what_is_not_needed_goes_one_at_a_time_and_only_after_a_calm():
    scaling = Scaling(1, 64)
    assert scaling.wanted(4, Load(busy=0.5), now=0.0) == 4
    assert scaling.wanted(4, Load(busy=0.5), now=CALM_S - 1) == 4
    assert scaling.wanted(4, Load(busy=0.5), now=CALM_S) == 3
    assert scaling.wanted(3, Load(busy=0.5), now=CALM_S + 1) == 3


def test_a_queue_in_between_ends_the_calm():
    scaling = Scaling(1, 64)
    scaling.wanted(4, Load(busy=0.5), now=0.0)
    scaling.wanted(4, Load(queue_s=2 * QUEUE_S), now=CALM_S - 1)
    assert scaling.wanted(4, Load(busy=0.5), now=CALM_S) == 4


def test_the_load_of_several_daemons_waits_for_the_same_replicas():
    assert Load(0.2, 1.5) + Load(0.1, 0.5) == Load(0.2, 2.0)


@given(st.integers(0, 99), st.floats(0, 1e3), st.floats(0, 1e3), st.integers(1, 9), st.integers(1, 9))
def test_whatever_the_load_the_bounds_hold(replicas, queue_s, busy, least, most):
    wanted = Scaling(least, most).wanted(replicas, Load(queue_s, busy), now=0.0)
    assert min(least, most) <= wanted <= max(least, most)
