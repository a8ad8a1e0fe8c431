"""Frames and results of the client, made up."""

from __future__ import annotations

import numpy as np

from edge_client.adaptation.policy import Decision, LatencyBreakdown, PolicyState
from edge_client.frames import CapturedFrame, ChosenFrame, EncodedFrame, FrameResult, SentFrame
from edge_client.output.statistics import RunStatistics
from splitnet.detections import Detections
from splitnet.messages import ServerTiming
from splitnet.operating_point import Codec, OperatingPoint

POINT = OperatingPoint(Codec.RANS, 4, 2)
NAMES = ("person", "bicycle", "car")


def captured_frame(frame_id: int, size: tuple[int, int] = (64, 48)) -> CapturedFrame:
    """Return a grey frame of (width, height), captured at frame_id / 10 seconds."""
    image = np.full((size[1], size[0], 3), 90, np.uint8)
    return CapturedFrame(
        frame_id, frame_id / 10, (frame_id - 1) / 10, image, 1796047357.25 + frame_id, f"{frame_id}.png"
    )


def chosen_frame(
    frame_id: int,
    point: OperatingPoint = POINT,
    predicted: LatencyBreakdown | None = None,
    policy_state: PolicyState | None = None,
    size: tuple[int, int] = (64, 48),
) -> ChosenFrame:
    """Return such a frame, chosen 2 ms after its capture."""
    frame = captured_frame(frame_id, size)
    decision = Decision(point, "test", predicted)
    return ChosenFrame(frame, decision, frame.capture_time + 0.002, policy_state or PolicyState())


def sent_frame(frame_id: int, size: tuple[int, int] = (64, 48), predicted: LatencyBreakdown | None = None) -> SentFrame:
    """Return such a frame, encoded into 1500 bytes in 5.5 ms."""
    chosen = chosen_frame(frame_id, predicted=predicted, size=size)
    return SentFrame(chosen, EncodedFrame(POINT, b"x" * 1500, 1.0, 4.0, 0.5))


def result(
    frame_id: int = 1,
    end_to_end_ms: float = 50.0,
    late: bool = False,
    size: tuple[int, int] = (64, 48),
    point: OperatingPoint = POINT,
) -> FrameResult:
    """Return a result with a car and an object of a class that the bundle does not name."""
    sent = sent_frame(frame_id, size)
    boxes = np.array([[4, 5, 30, 40], [10.04, 1, 20, 9]], np.float32)
    found = Detections(boxes, np.array([0.87654, 0.5], np.float32), np.array([2, 99], np.int32))
    encoded = EncodedFrame(point, sent.encoded.payload, 1.0, 4.0, 0.5)
    return FrameResult(sent.frame, encoded, found, ServerTiming(1.0, 0.25, 12.0), end_to_end_ms, late)


def dropped(run: RunStatistics) -> int:
    """Return the number of captured frames that will never have detections."""
    return run.overtaken + run.skipped + run.lost + run.refused.total()
