"""The table controller: what it chooses, and why."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_client.adaptation.controller import (
    BYTE_PRICE_AP,
    LINK_TRIAL,
    MARGIN_AP,
    UNATTAINABLE,
    Controller,
    ControlSettings,
)
from edge_client.adaptation.point_table import PointCosts, PointTable
from edge_client.adaptation.prediction import NORMAL_P90
from edge_client.adaptation.sizes import SizeEstimate
from edge_client.adaptation.spread import Spread
from splitnet.errors import ConfigError
from splitnet.operating_point import LOCAL, SKIP, OperatingPoint
from tests.support.control_samples import LARGE, MIDDLE, PICTURE, SMALL, SPLIT_TABLE, TABLE, context, state

WITH_LOCAL = ControlSettings(has_local=True)


def choose(controller: Controller | None = None, now: float = 10.0, frame=None, **known):
    """Return what is decided for a frame at second 10."""
    controller = controller or Controller(TABLE, ControlSettings())
    return controller.choose(now, frame or context(), state(**known))


@pytest.mark.parametrize(("mbps", "row"), [(20.0, PICTURE), (1.5, LARGE), (0.15, SMALL)])
def test_a_richer_link_gets_a_better_point(mbps, row):
    assert choose(mbps=mbps).point == row.point


@pytest.mark.parametrize(("deadline_ms", "row"), [(250.0, LARGE), (125.0, MIDDLE), (80.0, SMALL)])
def test_a_shorter_deadline_gets_a_cheaper_width(deadline_ms, row):
    chosen = choose(Controller(SPLIT_TABLE, ControlSettings()), frame=context(deadline_ms=deadline_ms), mbps=4.0)
    assert chosen.point == row.point


def test_the_reason_and_the_breakdown_are_told():
    decision = choose(mbps=1.6)
    assert decision.reason == "start"
    assert decision.predicted.encode_ms == LARGE.encode_ms
    assert decision.predicted.total_ms == pytest.approx(80 + 25 + 30 + 10)
    assert decision.deviation_ms == pytest.approx(8 * 1000 / 1600 / NORMAL_P90)  # of the size alone


def test_a_doubled_load_makes_the_width_give_way():
    controller = Controller(SPLIT_TABLE, ControlSettings())
    assert choose(controller, mbps=4.0).point == LARGE.point
    doubled = {row.kind: Spread(2.0, 2.2) for row in SPLIT_TABLE.rows}
    assert choose(controller, mbps=4.0, encode_load=doubled).point == MIDDLE.point


def test_it_follows_the_link_down_and_up_at_once():
    controller = Controller(TABLE, ControlSettings())
    decisions = [
        choose(controller, 10.0 + i / 10, context(-100 * i), mbps=mbps)
        for i, mbps in enumerate((20.0, 1.0, 20.0, 20.0))
    ]
    assert [(decision.point, decision.reason) for decision in decisions] == [
        (PICTURE.point, "start"),
        (LARGE.point, "better"),
        (PICTURE.point, "better"),
        (PICTURE.point, "steady"),
    ]


def test_a_change_for_hardly_any_gain_is_not_made():
    def chosen_of(ap: float) -> OperatingPoint:
        """Return what follows SMALL if its like, of another width, has this accuracy."""
        controller = Controller(PointTable((SMALL, replace(SMALL, point=MIDDLE.point, ap=ap))), ControlSettings())
        assert choose(controller, mbps=None).point == SMALL.point
        return choose(controller, 11.0, context(-1000), mbps=20.0).point

    assert chosen_of(SMALL.ap + MARGIN_AP / 2) == SMALL.point
    assert chosen_of(SMALL.ap + MARGIN_AP * 2) == MIDDLE.point


def test_half_an_ap_is_not_worth_ten_times_the_bytes_and_three_are():
    def best_of(ap: float, settings: ControlSettings) -> PointCosts:
        large = PointCosts(PICTURE.point, ap, 10 * LARGE.bytes_p50, 10 * LARGE.bytes_p90, 10.0)
        rows = {row.point: row for row in (LARGE, large)}
        return rows[choose(Controller(PointTable((LARGE, large)), settings), mbps=100.0).point]

    assert best_of(LARGE.ap + 0.5, ControlSettings()) is LARGE
    assert best_of(LARGE.ap + 3.0, ControlSettings()) is not LARGE
    assert best_of(LARGE.ap + 0.5, ControlSettings(byte_price_ap=0.0)) is not LARGE
    assert best_of(LARGE.ap + 3.0, ControlSettings(byte_price_ap=4 * BYTE_PRICE_AP)) is LARGE


def test_a_point_that_is_often_late_gives_way_to_a_quicker_one():
    controller = Controller(TABLE, ControlSettings())
    doubtful = {"mbps": 2.4, "sizes": SizeEstimate({"jpeg": Spread(1.0, 1.5), "rans": Spread(1.0, 1.5)})}
    assert choose(controller, frame=context(deadline_ms=180.0), **doubtful).point == PICTURE.point
    for _ in range(20):
        controller.errors.add(3.0)  # standard deviations late
    assert choose(controller, frame=context(deadline_ms=180.0), **doubtful).point == LARGE.point


def test_an_unknown_link_is_asked_with_a_small_frame():
    assert choose(mbps=None).point == SMALL.point


def test_without_a_deadline_the_best_sustained_point_is_taken():
    endless = context(deadline_ms=0.0)
    assert choose(frame=endless, mbps=20.0).point == PICTURE.point
    assert choose(frame=endless, mbps=1.0).point == LARGE.point  # others would wait for half of the images


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


def test_a_device_that_can_detect_in_time_does_so_and_the_frames_meanwhile_are_sent():
    table = PointTable(TABLE.rows, local_ap=29.0, local_ms=150.0)
    controller = Controller(table, WITH_LOCAL)
    decision = choose(controller, mbps=50.0)
    assert (decision.point, decision.reason) == (LOCAL, "the device's own detector is worth more")
    assert choose(controller, frame=context(local_pending=1), mbps=50.0).point == PICTURE.point


def test_a_link_that_was_silent_is_asked_once_when_it_is_heard_again():
    """What it held up comes late, and says that the link is slow; more would have to wait for a pause."""
    controller = Controller(replace(TABLE, local_ms=50.0), WITH_LOCAL)
    slow = {"mbps": 0.05, "unheard_s": 0.1}
    assert choose(controller, **slow).reason == "the device's own detector is worth more"
    assert choose(controller, silent_ms=500.0).reason == "link silent"
    assert choose(controller, frame=context(in_flight=2), **slow).point == LOCAL  # what was under way comes first
    assert choose(controller, **slow).reason == LINK_TRIAL
    assert choose(controller, **slow).point == LOCAL


def test_a_local_detector_that_is_often_late_is_left_alone():
    controller = Controller(PointTable(TABLE.rows, local_ap=29.0, local_ms=150.0), WITH_LOCAL)
    loaded = {"encode_load": {"local": Spread(1.2, 1.4)}}  # 180 of 200 ms, give or take 23
    assert choose(controller, mbps=50.0, **loaded).point == PICTURE.point
    assert choose(controller, mbps=50.0).point == LOCAL
    for _ in range(40):
        controller.local_errors.add(100.0)
    assert choose(controller, mbps=50.0).point == PICTURE.point


def test_a_table_of_nothing_but_the_detector_works():
    controller = Controller(PointTable((), local_ap=29.0, local_ms=15.0), WITH_LOCAL)
    assert choose(controller).point == LOCAL
    assert choose(controller, frame=context(local_pending=1)).point == SKIP


@pytest.mark.parametrize(
    "limit", [{"deadline_ms": -1.0}, {"min_fps": -0.1}, {"max_kbps": math.nan}, {"byte_price_ap": math.nan}]
)
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


LAYERED = context(max_layers=3)


def test_a_frame_goes_in_layers_where_the_whole_may_be_late():
    controller = Controller(SPLIT_TABLE, ControlSettings())
    steady = choose(controller, frame=LAYERED, mbps=20.0)
    assert (steady.point, steady.layers) == (LARGE.point, 1)
    unsteady = choose(Controller(SPLIT_TABLE, ControlSettings()), frame=LAYERED, mbps=0.7, late_ms=40.0)
    assert unsteady.layers == 3
    assert choose(Controller(SPLIT_TABLE, ControlSettings()), mbps=0.7, late_ms=40.0).layers == 1


def test_layers_need_a_server_that_takes_them_a_row_that_has_them_and_a_user_who_wants_them():
    unsteady = {"mbps": 0.7, "late_ms": 40.0}
    without = Controller(SPLIT_TABLE.with_layers(lambda point: False), ControlSettings())
    assert choose(without, frame=LAYERED, **unsteady).layers == 1
    assert choose(Controller(SPLIT_TABLE, ControlSettings(in_layers=False)), frame=LAYERED, **unsteady).layers == 1
    assert choose(Controller(SPLIT_TABLE, ControlSettings()), frame=context(max_layers=2), **unsteady).layers == 1


def test_images_have_no_layers():
    only = Controller(PointTable((PICTURE,)), ControlSettings())
    assert choose(only, frame=LAYERED, mbps=1.5, late_ms=40.0).layers == 1
