"""The table controller: what it chooses, and why."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_client.adaptation.controller import DWELL_S, UNATTAINABLE, Controller, ControlSettings
from edge_client.adaptation.point_table import PointTable
from edge_client.adaptation.prediction import Spread
from splitnet.errors import ConfigError
from splitnet.operating_point import LOCAL, SKIP
from tests.support.control_samples import LARGE, MIDDLE, PICTURE, SMALL, SPLIT_TABLE, TABLE, context, state

WITH_LOCAL = ControlSettings(has_local=True)


def choose(controller: Controller | None = None, now: float = 10.0, frame=None, **known):
    """Return what is decided for a frame at second 10."""
    controller = controller or Controller(TABLE, ControlSettings())
    return controller.choose(now, frame or context(), state(**known))


@pytest.mark.parametrize(("mbps", "row"), [(20.0, PICTURE), (2.0, LARGE), (0.15, SMALL)])
def test_a_richer_link_gets_a_better_point(mbps, row):
    assert choose(mbps=mbps).point == row.point


@pytest.mark.parametrize(("deadline_ms", "row"), [(250.0, LARGE), (125.0, MIDDLE), (80.0, SMALL)])
def test_a_shorter_deadline_gets_a_cheaper_width(deadline_ms, row):
    chosen = choose(Controller(SPLIT_TABLE, ControlSettings()), frame=context(deadline_ms=deadline_ms), mbps=4.0)
    assert chosen.point == row.point


def test_the_reason_and_the_terms_are_told():
    decision = choose(mbps=2.0)
    assert decision.reason == "start"
    assert decision.predicted.encode_ms == LARGE.encode_ms
    assert decision.predicted.total_ms == pytest.approx(80 + 20 + 30 + 10)


def test_a_doubled_load_makes_the_width_give_way():
    controller = Controller(SPLIT_TABLE, ControlSettings())
    assert choose(controller, mbps=4.0).point == LARGE.point
    doubled = {row.kind: Spread(2.0, 2.2) for row in SPLIT_TABLE.rows}
    assert choose(controller, mbps=4.0, encode_load=doubled).point == MIDDLE.point


def test_down_at_once_and_up_after_a_dwell():
    controller = Controller(TABLE, ControlSettings())
    assert choose(controller, 10.0, mbps=20.0).point == PICTURE.point
    down = choose(controller, 10.1, context(-100), mbps=1.0)
    assert (down.point, down.reason) == (LARGE.point, "down")
    assert choose(controller, 10.1 + DWELL_S / 2, context(-250), mbps=20.0).point == LARGE.point
    up = choose(controller, 10.2 + DWELL_S, context(-500), mbps=20.0)
    assert (up.point, up.reason) == (PICTURE.point, "better")


def test_a_change_for_hardly_any_gain_is_not_made():
    table = PointTable((SMALL, type(SMALL)(MIDDLE.point, 16.2, 1200, 1500, 20.0)))
    controller = Controller(table, ControlSettings())
    assert choose(controller, mbps=None).point == SMALL.point
    assert choose(controller, 11.0, context(-1000), mbps=20.0).point == SMALL.point


def test_an_unknown_link_is_asked_with_a_small_frame():
    assert choose(mbps=None).point == SMALL.point


def test_a_link_is_probed_step_by_step():
    controller = Controller(TABLE, ControlSettings())
    points = [
        choose(controller, 10.0 + i, context(-1000 * i), mbps=20.0, app_limited=True, carried_bytes=carried).point
        for i, carried in enumerate([0, 1000, 3000, 5000])
    ]
    assert points == [SMALL.point, MIDDLE.point, LARGE.point, PICTURE.point]


def test_a_step_leads_further_than_the_row_in_use_however_small_its_frames_are():
    controller = Controller(TABLE, ControlSettings())
    assert choose(controller, mbps=None).point == SMALL.point
    decisions = [
        choose(controller, 10.0 + i, context(-1000 * i), mbps=20.0, carried_bytes=carried)
        for i, carried in enumerate([230, 230, 700, 1200, 12_000])
    ]
    assert [(decision.point, decision.reason) for decision in decisions] == [
        (MIDDLE.point, "better"),
        (LARGE.point, "better"),
        (PICTURE.point, "better"),
        (PICTURE.point, "steady"),
        (PICTURE.point, "steady"),
    ]


def test_a_step_is_measured_by_what_this_camera_s_frames_take():
    controller = Controller(TABLE, ControlSettings())
    assert choose(controller, mbps=None).point == SMALL.point
    sizes = {"rans": Spread(0.2, 0.3), "jpeg": Spread(0.2, 0.3)}  # 280, 680, 1080 and 5080 bytes with the message
    assert choose(controller, mbps=20.0, size_load=sizes, carried_bytes=560).point == LARGE.point


def test_a_burst_is_not_taken_for_a_rich_link():
    assert choose(mbps=20.0, app_limited=False, carried_bytes=1000).point == MIDDLE.point
    assert choose(mbps=20.0, app_limited=False, carried_bytes=5000).point == PICTURE.point


def test_without_a_deadline_the_best_sustained_point_is_taken():
    endless = context(deadline_ms=0.0)
    assert choose(frame=endless, mbps=20.0).point == PICTURE.point
    assert choose(frame=endless, mbps=1.0).point == LARGE.point


def test_the_frame_rate_bounds_the_time_to_encode():
    controller = Controller(SPLIT_TABLE, ControlSettings(min_fps=20))
    assert choose(controller, mbps=10.0).point == MIDDLE.point


def test_the_rate_bounds_the_bytes():
    controller = Controller(TABLE, ControlSettings(max_kbps=300))  # 3750 bytes a frame
    assert choose(controller, mbps=20.0).point == MIDDLE.point


def test_limits_that_nothing_meets_give_what_comes_closest():
    assert choose(Controller(TABLE, ControlSettings(max_kbps=1)), mbps=20.0).point == SMALL.point


def test_a_deadline_that_nothing_can_meet_is_said():
    decision = choose(frame=context(deadline_ms=30.0))
    assert decision.reason == UNATTAINABLE
    assert decision.point.is_sent


def test_a_link_that_is_too_slow_gets_the_quickest_point():
    decision = choose(mbps=0.02)
    assert (decision.point, decision.reason) == (SMALL.point, "the link is too slow")


def test_a_frame_that_is_too_old_gives_way_to_the_next():
    assert choose(frame=context(age_ms=170), mbps=2.0).point == SKIP


def test_a_full_queue_is_not_made_longer():
    assert choose(mbps=1.0, queued_bytes=40_000.0).point == SKIP


def test_without_a_link_the_device_detects_alone():
    controller = Controller(TABLE, WITH_LOCAL)
    assert choose(controller, frame=context(can_send=False)).point == LOCAL
    assert choose(controller, frame=context(can_send=False, local_pending=1)).point == SKIP
    assert choose(controller, silent_ms=500.0).point == LOCAL


def test_without_a_link_or_a_detector_the_frame_is_skipped():
    assert choose(frame=context(can_send=False)).point == SKIP


def test_a_slow_link_leaves_a_frame_to_the_device_if_it_is_in_time():
    controller = Controller(TABLE, WITH_LOCAL)
    slow = {"mbps": 0.01, "capacity_bps": 1e4}
    assert choose(controller, frame=context(deadline_ms=600.0), **slow).point == LOCAL
    assert choose(controller, frame=context(deadline_ms=300.0), **slow).point == SMALL.point


def test_a_fast_device_stays_local():
    table = PointTable(TABLE.rows, local_ap=29.0, local_ms=15.0)
    decision = choose(Controller(table, WITH_LOCAL), mbps=50.0)
    assert (decision.point, decision.reason) == (LOCAL, "the device is faster than the link")


def test_a_table_of_nothing_but_the_detector_works():
    controller = Controller(PointTable((), local_ap=29.0, local_ms=15.0), WITH_LOCAL)
    assert choose(controller).point == LOCAL
    assert choose(controller, frame=context(local_pending=1)).point == SKIP


@pytest.mark.parametrize("limit", [{"deadline_ms": -1.0}, {"min_fps": -0.1}, {"max_kbps": math.nan}])
def test_limits_that_make_no_sense_are_refused(limit):
    with pytest.raises(ConfigError, match="cannot be negative"):
        ControlSettings(**limit)


@given(
    st.floats(1e3, 1e10) | st.none(),
    st.floats(0, 1e7),
    st.floats(0, 1e5),
    st.floats(0, 1e4),
    st.floats(0, 1e4),
    st.booleans(),
)
def test_it_always_chooses_something_it_knows(bps, queued, late_ms, deadline_ms, age_ms, can_send):
    controller = Controller(TABLE, WITH_LOCAL)
    known = {"capacity_bps": bps, "queued_bytes": queued, "late_ms": late_ms}
    frame = context(age_ms, deadline_ms, can_send=can_send)
    for _ in itertools.repeat(None, 2):
        decision = choose(controller, frame=frame, **known)
        assert decision.point in {LOCAL, SKIP, *(row.point for row in TABLE.rows)}
        assert can_send or not decision.point.is_sent
        assert decision.predicted is None or math.isfinite(decision.predicted.total_ms)
