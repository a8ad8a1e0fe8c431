"""Counts what has become of the frames of a run, in constant memory. `status` says it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from edge_client.adaptation.policy import LatencyBreakdown, PolicyState
from edge_client.frames import FrameResult
from edge_client.percentiles import LatencyHistogram, RecentWindow
from splitnet.messages import GroupPlace
from splitnet.operating_point import LOCAL, Mode, OperatingPoint


@dataclass
class PointStatistics:
    """The frames with detections of one operating point."""

    payload_bytes: int = 0
    encode: LatencyHistogram = field(default_factory=LatencyHistogram)
    server: LatencyHistogram = field(default_factory=LatencyHistogram)
    end_to_end: LatencyHistogram = field(default_factory=LatencyHistogram)

    def add(self, result: FrameResult) -> None:
        """Count a frame."""
        self.payload_bytes += len(result.encoded.payload)
        self.encode.add(result.encoded.encode_ms)
        self.server.add(result.server.total_ms)
        self.end_to_end.add(result.end_to_end_ms)

    @property
    def frames(self) -> int:
        """The number of frames."""
        return self.end_to_end.count

    @property
    def kilobytes_mean(self) -> float:
        """The mean payload in KB (1000 bytes)."""
        return self.payload_bytes / self.frames / 1000 if self.frames else 0.0


@dataclass
class PredictionStatistics:
    """What a policy predicted of the frames' latency, and how it was."""

    predicted: LatencyHistogram = field(default_factory=LatencyHistogram)
    real: LatencyHistogram = field(default_factory=LatencyHistogram)
    error: LatencyHistogram = field(default_factory=LatencyHistogram)  # without its sign

    def add(self, predicted: LatencyBreakdown, real_ms: float) -> None:
        """Compare one frame."""
        self.predicted.add(predicted.total_ms)
        self.real.add(real_ms)
        self.error.add(abs(real_ms - predicted.total_ms))

    @property
    def frames(self) -> int:
        """The number of frames compared."""
        return self.error.count


class RunStatistics:
    """Counts what becomes of every frame. Used under the lock of its `ledger`.

    captured = overtaken + answered + local + skipped + lost + refused + those still in flight.
    """

    def __init__(self, started: float, place: GroupPlace | None = None) -> None:
        """Take when the run has begun, in seconds of the frames' clock, and the device's place in its group."""
        self.started = started
        self.place = place
        self.unused = 0  # parts of this device that came too late for the group's answer
        self.missing: Counter[int] = Counter()  # answers of the group that lacked a part, by the part
        self.degraded = 0  # answers of the group that lacked any
        self.last_parts: tuple[int, ...] | None = None  # of the group's latest answer
        self.captured = 0
        self.overtaken = 0  # by a newer frame, before encoding
        self.skipped = 0  # because the policy has chosen so
        self.lost = 0  # encoded, but the link died before the answer
        self.late = 0  # detected after the deadline
        self.late_local = 0  # those of them that the device has detected itself
        self.switches = 0  # of the operating point, from one chosen frame to the next
        self.unreadable = 0  # images that the source passed over
        self.sessions = 0
        self.moves = 0  # sessions with another server than the one before
        self.server: str | None = None  # of the latest session
        self.no_link_since: float | None = None  # while a session is sought
        self.refused: Counter[str] = Counter()  # by kind of the server's error
        self.whole = PointStatistics()
        self.points: dict[OperatingPoint, PointStatistics] = {}
        self.prediction = PredictionStatistics()
        self.policy_state = PolicyState()  # the policy's latest
        self.recent_latency = RecentWindow()
        self.recent_bytes = RecentWindow()
        self.last_point: OperatingPoint | None = None  # of a frame with detections
        self._last_chosen: OperatingPoint | None = None

    def add_session(self, server: str) -> None:
        """Count a session."""
        self.no_link_since = None
        self.sessions += 1
        self.moves += self.server not in (None, server)
        self.server = server

    def add_choice(self, point: OperatingPoint, policy_state: PolicyState) -> None:
        """Count a decision."""
        self.switches += self._last_chosen is not None and point != self._last_chosen
        self._last_chosen = point
        self.policy_state = policy_state

    def add_result(self, now: float, result: FrameResult, predicted: LatencyBreakdown | None = None) -> None:
        """Count a frame with detections, from the server or from the device itself."""
        self.late += result.late
        self.late_local += result.late and result.encoded.point == LOCAL
        self.whole.add(result)
        self.points.setdefault(result.encoded.point, PointStatistics()).add(result)
        if predicted is not None:
            self.prediction.add(predicted, result.end_to_end_ms)
        if self.place is not None and result.parts_used is not None:
            self._add_parts(self.place, result.parts_used)
        self.recent_latency.add(now, result.end_to_end_ms)
        self.recent_bytes.add(now, len(result.encoded.payload))
        self.last_point = result.encoded.point

    def _add_parts(self, place: GroupPlace, used: tuple[int, ...]) -> None:
        missing = set(range(1, place.parts + 1)) - set(used)
        self.missing.update(missing)
        self.degraded += bool(missing)
        self.unused += place.part in missing
        self.last_parts = used

    @property
    def detected(self) -> int:
        """The number of frames with detections, wherever they were made."""
        return self.whole.frames

    @property
    def local(self) -> int:
        """The number of frames with detections of the device itself."""
        return self.points[LOCAL].frames if LOCAL in self.points else 0

    @property
    def answered(self) -> int:
        """The number of frames with detections of the server."""
        return self.detected - self.local

    def modes(self) -> dict[str, int]:
        """Return the frames by mode: those with detections, and those skipped."""
        counts = dict.fromkeys((mode.value for mode in Mode), 0)
        for point, found in self.points.items():
            counts[point.mode.value] += found.frames
        return counts | {Mode.SKIP.value: self.skipped}

    def seconds(self, now: float) -> float:
        """Return how long the run has lasted."""
        return max(0.0, now - self.started)

    def frames_per_s(self, now: float) -> float:
        """Return the frames with detections a second, over the whole run."""
        return self.detected / self.seconds(now) if self.seconds(now) else 0.0

    def switches_per_minute(self, now: float) -> float:
        """Return how often the operating point has changed."""
        return 60 * self.switches / self.seconds(now) if self.seconds(now) else 0.0
