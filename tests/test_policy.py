"""Policies that do not adapt."""

from __future__ import annotations

import pytest

from edge_client.policy import Circumstances, FixedPolicy, SchedulePolicy
from splitnet.errors import ConfigError
from splitnet.operating_point import Codec, OperatingPoint

ANY = Circumstances(frame_id=1, capture_time=0.0, deadline_ms=0.0, in_flight=1)
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
