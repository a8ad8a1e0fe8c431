"""Policies that do not adapt."""

from __future__ import annotations

import pytest

from edge_client.adaptation.policy import FixedPolicy, FrameContext, Policy, PolicyState, SchedulePolicy
from splitnet.errors import ConfigError
from splitnet.messages import Ack, ServerTiming
from splitnet.operating_point import LOCAL, Codec, OperatingPoint

ANY = FrameContext(frame_id=1, capture_time=0.0, deadline_ms=0.0, in_flight=1)
FIRST, SECOND = OperatingPoint(Codec.RANS, 4, 2), OperatingPoint(Codec.JPEG, 0, 30)


def test_the_fixed_policy_never_changes():
    policy = FixedPolicy(FIRST)
    assert {policy.choose(now, ANY).point for now in range(5)} == {FIRST}


def test_the_schedule_stays_on_each_point_and_starts_over():
    policy = SchedulePolicy([FIRST, SECOND], frames_each=2)
    chosen = [policy.choose(0.0, ANY).point for _ in range(6)]
    assert chosen == [FIRST, FIRST, SECOND, SECOND, FIRST, FIRST]


@pytest.mark.parametrize(("points", "frames_each"), [([], 1), ([FIRST], 0)])
def test_an_empty_schedule_is_refused(points, frames_each):
    with pytest.raises(ConfigError, match="at least one"):
        SchedulePolicy(points, frames_each)


def test_only_a_policy_that_needs_no_link_works_offline():
    assert FixedPolicy(LOCAL).works_offline
    assert not FixedPolicy(FIRST).works_offline
    assert not SchedulePolicy([FIRST, LOCAL], 1).works_offline


def test_a_policy_that_does_not_learn_is_told_everything_and_believes_nothing():
    policy = Policy()
    policy.encoded(0.0, 1, FIRST, 5.0, 100)
    policy.sent(0.0, 1, 100)
    policy.acked(0.0, Ack(1, 100, 5, 1))
    policy.answered(0.0, 1, ServerTiming(1.0, 2.0, 3.0))
    policy.failed(0.0, 1)
    policy.link_up(0.0)
    policy.link_down(0.0)
    policy.detected_locally(0.0, 1, 20.0)
    policy.sampled(0.0, None)
    assert policy.state(0.0) == PolicyState()
    with pytest.raises(NotImplementedError):
        policy.choose(0.0, ANY)
