"""What is known of sizes: of frames that stand alone, of changes, and of which one the next frame will be."""

from __future__ import annotations

import numpy as np
import pytest

from edge_client.adaptation.adaptive_policy import AdaptivePolicy
from edge_client.adaptation.controller import ControlSettings
from edge_client.adaptation.point_table import PointCosts, PointTable
from edge_client.adaptation.policy import FrameContext
from edge_client.adaptation.sizes import UNSEEN_STREAM, SizeEstimator
from edge_client.adaptation.spread import Spread
from splitnet.messages import Ack, ServerTiming
from splitnet.operating_point import Codec, OperatingPoint
from tests.support.control_samples import LARGE, PICTURE, SMALL

H264 = PointCosts(OperatingPoint(Codec.H264, 0, 19), 27.0, 6000, 8000, 10.0)
FINER = PointCosts(OperatingPoint(Codec.H264, 0, 25), 28.0, 9000, 12_000, 10.0)
ROWS = (SMALL, LARGE, PICTURE, H264, FINER)


def factors(known: SizeEstimator) -> list[list[float]]:
    return [[round(float(value), 3) for value in figures] for figures in known.estimate().factors(ROWS)[:2]]


def test_a_table_holds_until_something_is_seen_but_a_stream_is_smaller_than_its_keyframe():
    usual, following = factors(SizeEstimator())
    assert usual == [1.0, 1.0, 1.0, UNSEEN_STREAM.expected, UNSEEN_STREAM.expected]
    assert following == [1.0, 1.0, 1.0, 1.0, 1.0]


def test_changes_are_expected_only_where_the_server_holds_that_width():
    known = SizeEstimator()
    known.encoded(1, SMALL, 1800, builds=False)
    known.answered(1)
    known.encoded(2, SMALL, 90, builds=True)
    usual, following = factors(known)
    assert usual[:3] == [0.1, 0.1, 1.0]
    assert following[:3] == [0.1, 2.0, 1.0]  # the other width would have to begin anew
    known.reset()
    assert factors(known)[1][:3] == [2.0, 2.0, 1.0]


def test_an_unanswered_frame_is_nothing_to_build_on():
    known = SizeEstimator()
    known.encoded(1, SMALL, 90, builds=True)
    assert known.estimate().width is None
    known.answered(1)
    assert known.estimate().width == SMALL.point.width


def test_a_stream_goes_on_at_its_own_quality_only():
    known = SizeEstimator()
    known.encoded(1, H264, 6000, builds=False)
    known.encoded(2, H264, 600, builds=True)
    usual, following = factors(known)
    assert usual[3:] == [0.1, 0.1]
    assert following[3:] == [0.1, 1.0]


def test_how_much_a_scene_changes_tells_of_a_stream_that_was_never_tried():
    known = SizeEstimator()
    known.encoded(1, SMALL, 90, builds=True)
    assert factors(known)[0][3:] == [0.1, 0.1]


def test_what_is_unknown_of_a_p90_is_not_a_number():
    assert np.isnan(SizeEstimator().estimate().factors(ROWS)[2]).all()


def drive(rows: tuple[PointCosts, ...], share: float, codecs: frozenset[Codec] | None = None) -> list[OperatingPoint]:
    """Play thirty frames, ten a second, over a link of 0.5 Mbit/s; frames that build take a share of the table."""
    adaptive = AdaptivePolicy(PointTable(rows), ControlSettings(deadline_ms=200.0))
    adaptive.link_up(0.0, codecs)
    by_point, points = {row.point: row for row in rows}, []
    for frame_id in range(1, 31):
        now = frame_id / 10
        point = adaptive.choose(now, FrameContext(frame_id, now, 200.0, 1)).point
        builds = bool(points) and share < 1 and (points[-1] == point)
        size = int(by_point[point].bytes_p50 * (share if builds else 1.0))
        sent = now + by_point[point].encode_ms / 1000
        adaptive.encoded(sent, frame_id, point, by_point[point].encode_ms, size, builds)
        adaptive.sent(sent, frame_id, size)
        acked = sent + 8 * (size + 100) / 5e5 + 0.03
        adaptive.acked(acked, Ack(frame_id, size, round(1e6 * acked) + 10**12, 1))
        adaptive.answered(acked + 0.01, frame_id, ServerTiming(1.0, 2.0, 7.0))
        points.append(point)
    return points


def test_a_still_scene_allows_what_whole_frames_do_not():
    whole, changes = drive((SMALL, LARGE), 1.0), drive((SMALL, LARGE), 0.1)
    assert whole[-1] == SMALL.point
    assert changes[-1] == LARGE.point


@pytest.mark.parametrize(("codecs", "sent"), [(None, True), (frozenset(Codec), True), (frozenset({Codec.RANS}), False)])
def test_what_the_server_does_not_take_is_never_chosen(codecs, sent):
    assert (H264.point in drive((SMALL, H264), 0.05, codecs)) == sent


def test_spreads_are_kept_by_codec():
    known = SizeEstimator()
    known.encoded(1, PICTURE, 12_450, builds=False)
    assert known.estimate().whole == {"jpeg": Spread(0.5, 0.75)}
