"""Predictions for a frame at an operating point."""

from __future__ import annotations

import pytest

from edge_client.adaptation.point_table import PointCosts
from edge_client.adaptation.prediction import CAUTION, Prediction, Spread, SystemState, predict
from tests.support.control_samples import LARGE, MIDDLE, PICTURE, state


def of(row: PointCosts, wait_ms: float, known: SystemState, budget_ms: float = 1000.0) -> Prediction:
    """Return what is to be expected of one row."""
    (prediction,) = predict([row], wait_ms, budget_ms, known)
    return prediction


def test_the_terms_are_those_of_the_way():
    prediction = of(MIDDLE, 5.0, state(mbps=1.0))
    assert prediction.breakdown.wait_ms == 5
    assert prediction.breakdown.encode_ms == 40
    assert prediction.breakdown.transmit_ms == pytest.approx(24)  # 3000 bytes with the message around them
    assert prediction.breakdown.propagate_ms == 30
    assert prediction.breakdown.server_ms == 10
    assert prediction.total_ms == pytest.approx(prediction.breakdown.total_ms) == pytest.approx(109)


def test_load_multiplies_encoding():
    loaded = state(encode_load={"w2": Spread(2.0, 2.5)})
    assert of(MIDDLE, 0.0, loaded).encode_ms == 80
    assert of(LARGE, 0.0, loaded).encode_ms == 80  # of another width nothing is known


def test_encoding_goes_on_while_the_queue_drains():
    queued = state(mbps=1.0, queued_bytes=7500.0)  # 60 ms
    assert of(MIDDLE, 0.0, queued).queue_ms == pytest.approx(20)
    assert of(LARGE, 0.0, queued).queue_ms == 0


def test_independent_deviations_add_as_squares():
    varied = state(mbps=1.0, encode_load={"w2": Spread(1.0, 1.5)}, late_ms=15.0, server_ms=Spread(10.0, 22.0))
    prediction = of(MIDDLE, 0.0, varied)
    size_ms = 8 * 600 / 1000
    deviation_ms = (20.0**2 + 15.0**2 + 12.0**2 + size_ms**2) ** 0.5
    assert prediction.cautious_ms - prediction.total_ms == pytest.approx(CAUTION * deviation_ms)


def test_sizes_as_seen_replace_those_of_the_table():
    seen = state(mbps=1.0, size_load={"rans": Spread(2.0, 2.0)})
    assert of(MIDDLE, 0.0, seen).own_ms == pytest.approx(8 * 5900 / 1000)
    assert of(PICTURE, 0.0, seen).own_ms == pytest.approx(8 * 25_000 / 1000)


def test_a_point_that_serves_half_the_frames_scores_half():
    slow = of(PICTURE, 0.0, state(mbps=1.0, size_load={"jpeg": Spread(1.0, 1.0)}))
    assert slow.score == pytest.approx(28 / 2)  # 200 ms on the link for a frame every 100 ms


def test_nothing_is_transmitted_in_no_time_only_as_long_as_nothing_is_known():
    assert of(PICTURE, 0.0, state(mbps=None)).own_ms == 0


def test_lateness_counts_against_the_pace_only_where_the_deadline_leaves_no_room_for_it():
    late = state(mbps=1.0, late_ms=80.0, size_load={"jpeg": Spread(1.0, 1.0), "rans": Spread(1.0, 1.0)})
    assert of(MIDDLE, 0.0, late, budget_ms=400.0).score == MIDDLE.ap
    assert of(MIDDLE, 0.0, late, budget_ms=205.0).score == pytest.approx(MIDDLE.ap * 100 / 151)
