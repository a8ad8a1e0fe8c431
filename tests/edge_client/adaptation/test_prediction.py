"""Predictions for a frame at each operating point."""

from __future__ import annotations

import pytest

from edge_client.adaptation.link import MESSAGE_OVERHEAD_BYTES
from edge_client.adaptation.point_table import PointCosts
from edge_client.adaptation.prediction import (
    LEAST_DEVIATION_MS,
    NORMAL_P90,
    Predictions,
    Predictor,
    SystemState,
)
from edge_client.adaptation.sizes import SizeEstimate
from edge_client.adaptation.spread import Spread
from tests.support.control_samples import LARGE, MIDDLE, PICTURE, SMALL, TABLE, state


def of(row: PointCosts, known: SystemState, wait_ms: float = 0.0) -> Predictions:
    """Return what is expected of one row."""
    return Predictor([row]).predict(wait_ms, known)


def test_the_breakdown_is_that_of_the_way():
    prediction = of(MIDDLE, state(mbps=1.0), wait_ms=5.0)
    breakdown = prediction.breakdown(0)
    assert breakdown.wait_ms == 5
    assert breakdown.encode_ms == 40
    assert breakdown.transmit_ms == pytest.approx(24)  # 3000 bytes with the message around them
    assert breakdown.propagate_ms == 30
    assert breakdown.server_ms == 10
    assert prediction.total_ms[0] == pytest.approx(breakdown.total_ms) == pytest.approx(109)
    assert prediction.fresh_ms[0] == pytest.approx(104)


def test_all_rows_are_predicted_as_each_alone():
    known = state(
        mbps=1.0,
        queued_bytes=7500.0,
        encode_load={"w2": Spread(2.0, 2.5)},
        sizes=SizeEstimate({"jpeg": Spread(0.5, 0.75)}),
    )
    together = Predictor(TABLE.rows).predict(5.0, known)
    alone = [of(row, known, wait_ms=5.0) for row in TABLE.rows]
    for name in ("wire_bytes", "encode_ms", "queue_ms", "own_ms", "fresh_ms", "total_ms", "deviation_ms"):
        assert getattr(together, name).tolist() == [getattr(one, name)[0] for one in alone]


def test_load_multiplies_encoding():
    loaded = state(encode_load={"w2": Spread(2.0, 2.5)})
    assert of(MIDDLE, loaded).encode_ms == 80
    assert of(LARGE, loaded).encode_ms == 80  # of another width nothing is known


def test_encoding_goes_on_while_the_queue_drains():
    queued = state(mbps=1.0, queued_bytes=7500.0)  # 60 ms
    assert of(MIDDLE, queued).queue_ms == pytest.approx(20)
    assert of(LARGE, queued).queue_ms == 0


def test_independent_deviations_add_as_squares():
    varied = state(mbps=1.0, encode_load={"w2": Spread(1.0, 1.5)}, late_ms=15.0, server_ms=Spread(10.0, 22.0))
    size_ms = 8 * 600 / 1000
    p90_ms = (20.0**2 + 15.0**2 + 12.0**2 + size_ms**2) ** 0.5
    assert of(MIDDLE, varied).deviation_ms == pytest.approx(p90_ms / NORMAL_P90)


def test_no_time_is_known_to_better_than_a_millisecond():
    certain = state(sizes=SizeEstimate({"rans": Spread(1.0, 1.0)}))
    assert of(MIDDLE, certain).deviation_ms == LEAST_DEVIATION_MS


def test_sizes_as_seen_replace_those_of_the_table():
    seen = state(mbps=1.0, sizes=SizeEstimate({"rans": Spread(2.0, 2.0)}))
    assert of(MIDDLE, seen).own_ms == pytest.approx(8 * 5900 / 1000)
    assert of(PICTURE, seen).own_ms == pytest.approx(8 * 25_000 / 1000)


def test_the_share_of_frames_is_what_encoder_and_link_keep_up_with():
    assert of(PICTURE, state(mbps=1.0)).frame_share(100.0) == pytest.approx(1 / 2)  # 200 ms on the link
    assert of(LARGE, state(mbps=10.0)).frame_share(40.0) == pytest.approx(1 / 2)  # 80 ms in the encoder
    far = of(SMALL, state(mbps=10.0, rtt_min_ms=400.0))
    assert far.frame_share(100.0) == pytest.approx(200 / far.fresh_ms[0])  # two frames in flight
    assert of(PICTURE, state(mbps=1.0)).frame_share(None) == 1.0


def test_nothing_is_transmitted_in_no_time_only_as_long_as_nothing_is_known():
    unknown = of(PICTURE, state(mbps=None))
    assert (unknown.own_ms, unknown.wire_bytes) == (0, PICTURE.bytes_p50 + MESSAGE_OVERHEAD_BYTES)
