"""What a server tells its reporter of devices."""

from __future__ import annotations

import numpy as np

from cloud_server.reporting import observer
from splitnet.detections import Detections
from splitnet.messages import Frame, FrameDetections, ServerTiming
from splitnet.operating_point import Codec, OperatingPoint
from splitnet.outputs.change_feed import Observation
from splitnet.outputs.tracker import Sighting


def told(width: int, infer_ms: float, further: tuple[Detections, ...] = ()) -> list[Observation]:
    seen: list[Observation] = []
    frame = Frame(1, 0, OperatingPoint(Codec.RANS, 1, 0), b"", width, 48, deadline_ms=100)
    box, score, label = np.array([[1, 2, 3, 4]], np.float32), np.array([0.5], np.float32), np.array([1], np.int32)
    answer = FrameDetections(1, 0, Detections(box, score, label), ServerTiming(0, 0, infer_ms), further)
    observer(seen.append, lambda: 1000.0)("yard", [("person", "car"), ("cat", "helmet")], frame, answer)
    return seen


def test_an_answer_is_an_observation_of_its_device():
    assert told(64, 10) == [Observation("yard", 1000.0, 64, 48, [Sighting("car", 0.5, (1.0, 2.0, 3.0, 4.0))])]


def test_an_answer_after_its_deadline_is_late():
    assert not told(64, 101)[0].is_in_time


def test_an_image_whose_size_nobody_has_said_is_left_out():
    assert told(0, 10) == []


def test_what_further_bundles_find_is_reported_by_their_own_names():
    box, score, label = np.array([[5, 6, 7, 8]], np.float32), np.array([0.75], np.float32), np.array([1], np.int32)
    (seen,) = told(64, 10, (Detections(box, score, label),))
    assert [(one.label, one.score, one.box) for one in seen.sightings] == [
        ("car", 0.5, (1.0, 2.0, 3.0, 4.0)),
        ("helmet", 0.75, (5.0, 6.0, 7.0, 8.0)),
    ]
