"""One device as the server knows it: what it sends, what it says of itself, and the last ten minutes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from splitnet.device_status import DeviceDecision, DeviceLogLine, DeviceStatus, FrameCounts
from splitnet.errors import ConfigError
from splitnet.messages import ServerTiming
from splitnet.operating_point import Mode, OperatingPoint, parse_point

WINDOW_S = 5.0  # that rates are of
FRESH_S = 5.0  # how long a status speaks for its device
IDLE_S = 10.0  # without frame or status: connected, but nothing comes
BUCKET_S = 10.0  # of the history
BUCKETS = 60  # ten minutes
MAX_DECISIONS = 50
MAX_LOG_LINES = 200
MAX_TIMES = 256  # of answers, for percentiles of devices that say nothing of themselves
BAD_LEVELS = ("warning", "error", "critical")


class Sample(NamedTuple):
    """Counts at one moment. at: seconds on the clock that the counts are of."""

    at: float
    frames: FrameCounts
    seen_bytes: int
    seen_frames: int


class LastError(NamedTuple):
    """What went wrong last, in plain words."""

    at: float
    text: str


class Rates(NamedTuple):
    """What becomes of the camera's frames in a second; the others add up to the first."""

    camera: float
    answered: float
    local: float
    late: float
    skipped: float
    lost: float


@dataclass
class Device:
    """A device. Times are seconds of the server's monotonic clock."""

    id: str  # for addresses: names are not to be trusted
    name: str
    host: str  # that it comes from
    bundle: str = ""
    digest: str = ""
    sessions: set[str] = field(default_factory=set)  # that are open
    first_seen: float = 0.0
    last_seen: float = 0.0
    seen: FrameCounts = field(default_factory=FrameCounts)  # as the server counts
    seen_bytes: int = 0
    status: DeviceStatus | None = None
    status_at: float = float("-inf")
    last_point: OperatingPoint | None = None
    last_frame_at: float = float("-inf")
    last_error: LastError | None = None
    left_out: int = 0
    decisions: deque[DeviceDecision] = field(default_factory=lambda: deque(maxlen=MAX_DECISIONS))
    log: deque[DeviceLogLine] = field(default_factory=lambda: deque(maxlen=MAX_LOG_LINES))
    history: deque[float] = field(default_factory=lambda: deque(maxlen=BUCKETS))  # frames with detections a second
    preview: bytes = b""
    _samples_are_own: bool = False  # counted by the device, on its clock; else by the server
    _samples: deque[Sample] = field(default_factory=deque)
    _times_ms: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=MAX_TIMES))
    _bucket_began: float = 0.0
    _bucket_detected: int = 0
    _detected: int = 0

    def opened(self, now: float, session: str, bundle: str, digest: str) -> None:
        """Note an open session; what the device has said in an earlier one no longer holds."""
        self.sessions.add(session)
        self.bundle, self.digest, self.last_seen = bundle, digest, now
        self._samples.clear()
        self.status_at = float("-inf")

    def closed(self, now: float, session: str) -> None:
        """Note that a session is over."""
        self.sessions.discard(session)
        if not self.sessions:
            self._samples.clear()
        self.last_seen = now

    def frame(self, now: float, point: OperatingPoint, payload_bytes: int) -> None:
        """Note a frame that has arrived."""
        self.seen = self.seen.plus(FrameCounts(captured=1))
        self.seen_bytes += payload_bytes
        self.last_point, self.last_frame_at, self.last_seen = point, now, now

    def answered(self, now: float, timing: ServerTiming) -> None:
        """Note an answer."""
        self.seen = self.seen.plus(FrameCounts(answered=1))
        self._times_ms.append((now, timing.total_ms))
        if not self.reports(now):
            self._detected += 1

    def refused(self, now: float, text: str) -> None:
        """Note a frame that was answered by an error."""
        self.seen = self.seen.plus(FrameCounts(lost=1))
        self.last_error = LastError(now, text)

    def reported(self, now: float, status: DeviceStatus) -> None:
        """Take what the device says of itself."""
        before = self.status if self.reports(now) and self.status and status.run_s >= self.status.run_s else None
        if before is None:
            self._samples.clear()
        else:
            new = status.frames.minus(before.frames)
            self._detected += new.answered + new.local + new.late
        self.status, self.status_at, self.last_seen = status, now, now
        self._add_sample(Sample(status.run_s, status.frames, self.seen_bytes, self.seen.captured), True)
        self.decisions.extend(status.decisions)
        self.log.extend(status.log)
        self.left_out += status.left_out
        self.preview = status.preview or self.preview
        for line in status.log:
            if line.level in BAD_LEVELS:
                self.last_error = LastError(now, line.text)

    def tick(self, now: float) -> bool:
        """Sample what the device does not say, and fill the history; about once a second.

        Returns whether the history has a new entry.
        """
        if not self.reports(now) and self.sessions:
            self._add_sample(Sample(now, self.seen, self.seen_bytes, self.seen.captured), False)
        if not self._bucket_began:
            self._bucket_began, self._bucket_detected = now, self._detected
        passed = now - self._bucket_began
        if passed < BUCKET_S:
            return False
        self.history.append(round((self._detected - self._bucket_detected) / passed, 1))
        self._bucket_began, self._bucket_detected = now, self._detected
        return True

    def _add_sample(self, sample: Sample, is_own: bool) -> None:
        if is_own != self._samples_are_own or (self._samples and sample.at < self._samples[-1].at):
            self._samples.clear()
        self._samples_are_own = is_own
        self._samples.append(sample)
        while len(self._samples) > 2 and self._samples[0].at < sample.at - WINDOW_S:
            self._samples.popleft()

    def reports(self, now: float) -> bool:
        """Return whether the device speaks for itself."""
        return now - self.status_at <= FRESH_S

    def state(self, now: float) -> str:
        """Return "split", "image", "local", "idle" or "gone"."""
        if not self.sessions:
            return "gone"
        if self.reports(now) and self.status is not None and self.status.point:
            return mode_of(self.status.point)
        if self.last_point is None or now - self.last_frame_at > IDLE_S:
            return "idle"
        return self.last_point.mode.value

    def rates(self) -> Rates:
        """Return what becomes of the camera's frames in a second. Frames on their way are not counted yet."""
        if len(self._samples) < 2:
            return Rates(*[0.0] * 6)
        first, last = self._samples[0], self._samples[-1]
        span, new = last.at - first.at, last.frames.minus(first.frames)
        if span <= 0:
            return Rates(*[0.0] * 6)
        return Rates(*(n / span for n in (new.finished, new.answered, new.local, new.late, new.skipped, new.lost)))

    def traffic(self) -> tuple[float, float]:
        """Return the mean bytes of a frame that is sent, and the bits a second; 0 if nothing is."""
        if len(self._samples) < 2:
            return 0.0, 0.0
        first, last = self._samples[0], self._samples[-1]
        new_bytes, new_frames = last.seen_bytes - first.seen_bytes, last.seen_frames - first.seen_frames
        span = last.at - first.at
        return (new_bytes / new_frames if new_frames else 0.0), (8 * new_bytes / span if span > 0 else 0.0)

    def server_times_ms(self, now: float) -> list[float]:
        """Return how long the server took for the latest answers."""
        return [time for at, time in self._times_ms if at >= now - WINDOW_S]


def mode_of(point: str) -> str:
    """Return the state that an operating point's name stands for; of one that is not known here, its first word."""
    try:
        mode = parse_point(point).mode
    except ConfigError:
        return point.partition(" ")[0]
    return "idle" if mode is Mode.SKIP else mode.value
