"""The policy: it chooses the operating point of every frame, asked by the pipeline just before encoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from splitnet.errors import ConfigError
from splitnet.messages import Ack, ServerTiming
from splitnet.operating_point import Codec, OperatingPoint

if TYPE_CHECKING:
    from edge_client.adaptation.load import CpuSample

MAX_IN_FLIGHT = 2  # frames that are being encoded or await their answer


@dataclass(frozen=True)
class FrameContext:
    """What a policy may look at when it chooses. Times in seconds of the device's monotonic clock."""

    frame_id: int
    capture_time: float
    deadline_ms: float  # from capture, 0 for none
    in_flight: int  # frames on their way, this one included
    can_send: bool = True  # False: the link is down or silent, only LOCAL and SKIP are left
    local_pending: int = 0  # frames that the device's own detector has still to finish
    max_layers: int = 0  # that the server takes a frame in; 0: whole frames only


@dataclass(frozen=True)
class LatencyBreakdown:
    """Where the time between capture and detections goes, in milliseconds; predicted, or as it was."""

    wait_ms: float = 0.0  # from capture until encoding begins
    encode_ms: float = 0.0  # or, in local mode, the whole detection
    transmit_ms: float = 0.0  # until the link has taken the payload and what lies before it
    propagate_ms: float = 0.0  # round trip of an empty message
    server_ms: float = 0.0  # waiting, decoding and detecting

    @property
    def total_ms(self) -> float:
        """Their sum."""
        return self.wait_ms + self.encode_ms + self.transmit_ms + self.propagate_ms + self.server_ms


@dataclass(frozen=True)
class Decision:
    """An operating point, and why it was chosen."""

    point: OperatingPoint
    reason: str = "fixed"
    predicted: LatencyBreakdown | None = None
    deviation_ms: float = 0.0  # the standard deviation of the predicted total
    layers: int = 1  # that the frame is to be sent in, if it can be; 1: whole


@dataclass(frozen=True)
class PolicyState:
    """The estimates of a policy at one moment, for the status line and the trace; None where there is none."""

    capacity_bps: float | None = None
    capacity_low_bps: float | None = None  # cautious
    capacity_is_bound: bool = False  # the link can do this and perhaps more: nothing has filled it
    rtt_min_ms: float | None = None
    in_flight_bytes: int = 0
    overusing: bool = False
    load_factor: float | None = None  # encode times as measured, over those of the profile


class Policy:
    """Chooses one operating point for each frame, and may learn from what becomes of it.

    `choose`, `encoded` and `state` are called in the encoding thread, the others in the event loop's: a
    policy that learns guards its state, and all of them are quick. Times are seconds of the device's monotonic
    clock.
    """

    @property
    def works_offline(self) -> bool:
        """Whether it can do without the link: then it is asked even when nothing can be sent, else frames wait."""
        return False

    def choose(self, now: float, context: FrameContext) -> Decision:
        """Return the decision for the frame that is encoded next."""
        raise NotImplementedError

    def encoded(
        self,
        now: float,
        frame_id: int,
        point: OperatingPoint,
        encode_ms: float,
        payload_bytes: int,
        builds: bool = False,
    ) -> None:
        """Learn what encoding has cost. builds: on an earlier frame, so that the payload holds only changes."""

    def sent(self, now: float, frame_id: int, payload_bytes: int, layer: int = 0) -> None:
        """Learn that a frame, or one of its layers, is on its way."""

    def acked(self, now: float, ack: Ack) -> None:
        """Learn that the server has a frame."""

    def answered(self, now: float, frame_id: int, timing: ServerTiming, missing_layers: int = 0) -> None:
        """Learn that a frame's detections have arrived, and how many of its layers the server had to do without."""

    def failed(self, now: float, frame_id: int) -> None:
        """Learn that a frame was refused, or lost."""

    def follow(self, earlier: Policy) -> None:
        """Take over what the policy of the model before this one knows of device, server and link.

        The session that is open ends, and the next one goes the same way.
        """

    def link_up(self, now: float, codecs: frozenset[Codec] | None = None) -> None:
        """Learn that a session is open. codecs: what the server takes; None: it does not say."""

    def link_down(self, now: float) -> None:
        """Learn that there is none any more; frames in flight are lost."""

    def detected_locally(self, now: float, frame_id: int, duration_ms: float) -> None:
        """Learn how long the device took to detect by itself."""

    def sampled(self, now: float, sample: CpuSample) -> None:
        """Learn how busy the device is, about once a second."""

    def state(self, now: float) -> PolicyState:
        """Return its estimates."""
        return PolicyState()


@dataclass(frozen=True)
class FixedPolicy(Policy):
    """Always the same operating point."""

    point: OperatingPoint

    @property
    def works_offline(self) -> bool:
        """Whether its point needs no link."""
        return not self.point.is_sent

    def choose(self, now: float, context: FrameContext) -> Decision:
        """Return the operating point."""
        return Decision(self.point)


class SchedulePolicy(Policy):
    """Goes through a list of operating points, a number of frames on each, and starts over."""

    def __init__(self, points: Sequence[OperatingPoint], frames_each: int) -> None:
        if not points or frames_each < 1:
            raise ConfigError("a schedule needs at least one operating point and one frame on each")
        self._points = tuple(points)
        self._frames_each = frames_each
        self._chosen = 0

    def choose(self, now: float, context: FrameContext) -> Decision:
        """Return the next operating point of the list."""
        point = self._points[self._chosen // self._frames_each % len(self._points)]
        self._chosen += 1
        return Decision(point, "schedule")
