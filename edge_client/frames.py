"""A frame on its way: captured, chosen, sent; and what becomes of it in the end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from edge_client.adaptation.policy import Decision, Estimates, Terms
from edge_client.capture.pacer import CapturedFrame
from edge_client.encoding.encoder import EncodedFrame
from edge_client.result import FrameResult

if TYPE_CHECKING:
    from edge_client.adaptation.load import CpuSample


@dataclass(frozen=True)
class ChosenFrame:
    """A frame whose operating point is chosen, and what was believed at that moment."""

    frame: CapturedFrame
    decision: Decision
    chosen_at: float  # seconds of the device's monotonic clock
    estimates: Estimates
    cpu: CpuSample | None = None


@dataclass(frozen=True)
class SentFrame:
    """A frame and how it was encoded."""

    chosen: ChosenFrame
    encoded: EncodedFrame

    @property
    def frame(self) -> CapturedFrame:
        """The frame itself."""
        return self.chosen.frame


class Outcome(str, Enum):
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

    outcome: Outcome
    frame: CapturedFrame
    chosen: ChosenFrame | None = None
    encoded: EncodedFrame | None = None
    result: FrameResult | None = None


def actual_terms(chosen: ChosenFrame, result: FrameResult) -> Terms:
    """Return where the time of a frame with detections went.

    Nobody sees how the time on the link divides; what exceeds the smallest round trip known counts as transmission.
    """
    wait_ms = max(0.0, (chosen.chosen_at - chosen.frame.capture_time) * 1000)
    encode_ms = result.encoded.encode_ms
    server_ms = result.server.wait_ms + result.server.decode_ms + result.server.infer_ms
    link_ms = max(0.0, result.end_to_end_ms - wait_ms - encode_ms - server_ms) if chosen.decision.point.travels else 0.0
    propagate_ms = min(link_ms, chosen.estimates.rtt_min_ms or 0.0)
    return Terms(wait_ms, encode_ms, link_ms - propagate_ms, propagate_ms, server_ms)
