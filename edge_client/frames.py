"""The types of one frame on its way: captured, chosen, encoded, sent, answered; and what becomes of it in the end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from edge_client.adaptation.load import CpuSample
from edge_client.adaptation.policy import Decision, LatencyBreakdown, PolicyState
from splitnet.codec.references import Reference
from splitnet.detections import Detections
from splitnet.letterbox import Letterbox
from splitnet.messages import ServerTiming
from splitnet.operating_point import OperatingPoint

Image = NDArray[np.uint8]  # (H, W, 3), BGR


@dataclass(frozen=True)
class CapturedFrame:
    """An image that has become a frame. capture_time: seconds of the device's monotonic clock."""

    frame_id: int
    capture_time: float
    position_s: float  # in the source
    image: Image
    unix_time: float = 0.0  # of its capture, by the device's own date
    file: str | None = None  # the name of the file that it comes from
    camera: str = ""  # which of the run's, where it has several
    stream: int = 0  # of a group's camera: which run of it


@dataclass(frozen=True)
class ChosenFrame:
    """A frame whose operating point is chosen, and what was believed at that moment."""

    frame: CapturedFrame
    decision: Decision
    chosen_at: float  # seconds of the device's monotonic clock
    policy_state: PolicyState
    cpu: CpuSample | None = None


@dataclass(frozen=True)
class Moved:
    """A picture that lies on its canvas where it usually does not, so that what is found in it does, too."""

    letterbox: Letterbox
    offset: tuple[float, float]  # pixels of the canvas, right and down

    def back(self, found: Detections) -> Detections:
        """Return what was found where it is in the frame."""
        return replace(found, boxes=self.letterbox.boxes_back(found.boxes, self.offset))


@dataclass(frozen=True)
class EncodedFrame:
    """A payload and what it cost, step by step."""

    point: OperatingPoint  # really encoded at; its quality may be below what was asked
    payload: bytes
    letterbox_ms: float
    network_ms: float  # encoder, gains and quantiser, or the whole detector; 0 for images
    entropy_ms: float  # symbols to bytes, or the image codec
    reference: Reference | None = None  # what later frames may build on, once the server has answered this one
    builds_on: int | None = None  # the frame whose changes this one is, if it does not stand alone
    is_unchanged: bool = False  # there are none: the server would answer as it did then
    layers: tuple[bytes, ...] = ()  # that the payload consists of, if it may be sent piece by piece
    moved: Moved | None = None  # how its picture was moved on the canvas; None: not at all

    @property
    def encode_ms(self) -> float:
        """The whole, from frame to payload."""
        return self.letterbox_ms + self.network_ms + self.entropy_ms

    def in_frame(self, found: Detections) -> Detections:
        """Return what a server has found, in pixels of the frame."""
        return found if self.moved is None else self.moved.back(found)


@dataclass(frozen=True)
class SentFrame:
    """A frame and how it was encoded."""

    chosen: ChosenFrame
    encoded: EncodedFrame

    @property
    def frame(self) -> CapturedFrame:
        """The frame itself."""
        return self.chosen.frame


@dataclass(frozen=True)
class FrameResult:
    """A frame, how it was encoded, and what was found in it.

    end_to_end_ms: from capture until the detections were here. late: that was after the deadline. repeated: nothing had
    changed, so it was not sent, and the last answer holds. predicted: nobody looked at it; the boxes are those of the
    answers before, moved on. layers_used: of a frame in layers, how many the server had when it computed;
    0: the frame was whole. further: what the session's further bundles found, in their order; empty if nobody asked
    them, as when the device detected by itself. parts_used: of a group's frame, the parts that the server had; None:
    the device stands alone.
    """

    frame: CapturedFrame
    encoded: EncodedFrame
    detections: Detections
    server: ServerTiming
    end_to_end_ms: float
    late: bool
    repeated: bool = False
    predicted: bool = False
    layers_used: int = 0
    further: tuple[Detections, ...] = ()
    parts_used: tuple[int, ...] | None = None


class FrameOutcome(str, Enum):
    """What becomes of a captured frame: one of these, for every one."""

    ANSWERED = "answered"  # by the server, in time
    LOCAL = "local"  # detected on the device, in time
    LATE = "late"  # either of them, after the deadline
    SKIPPED = "skipped"
    OVERTAKEN = "overtaken"  # by a newer frame
    LOST = "lost"  # the link died before the answer
    REFUSED = "refused"  # by the server


@dataclass(frozen=True)
class Fate:
    """The end of a frame's way, with as much of it as there was."""

    outcome: FrameOutcome
    frame: CapturedFrame
    chosen: ChosenFrame | None = None
    encoded: EncodedFrame | None = None
    result: FrameResult | None = None


def actual_breakdown(chosen: ChosenFrame, result: FrameResult) -> LatencyBreakdown:
    """Return where the time of a frame with detections went.

    Nobody sees how the time on the link divides; what exceeds the smallest round trip known counts as transmission.
    """
    wait_ms = max(0.0, (chosen.chosen_at - chosen.frame.capture_time) * 1000)
    encode_ms = result.encoded.encode_ms
    server_ms = result.server.total_ms
    link_ms = max(0.0, result.end_to_end_ms - wait_ms - encode_ms - server_ms) if chosen.decision.point.is_sent else 0.0
    propagate_ms = min(link_ms, chosen.policy_state.rtt_min_ms or 0.0)
    return LatencyBreakdown(wait_ms, encode_ms, link_ms - propagate_ms, propagate_ms, server_ms)
