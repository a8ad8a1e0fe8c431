"""How a device is doing, as it tells its server once a second, and what bounds that."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_STATUS_BYTES = 32_768  # of one message, the preview included
STATUS_INTERVAL_S = 1.0
MAX_DECISIONS = 16  # in one message
MAX_LOG_LINES = 16
MAX_PREVIEW_BYTES = 24_576
MAX_NAME_CHARS = 128
MAX_POINT_CHARS = 32
MAX_TEXT_CHARS = 300


@dataclass(frozen=True)
class FrameCounts:
    """What has become of a device's frames since its run began. What is missing from `captured` is on its way."""

    captured: int = 0
    answered: int = 0  # by the server, in time
    local: int = 0  # detected on the device, in time
    late: int = 0  # either of them, after the deadline
    skipped: int = 0  # by choice, or because a newer frame overtook them
    lost: int = 0  # refused by the server, or swallowed by the link

    @property
    def finished(self) -> int:
        """The frames whose fate is known."""
        return self.answered + self.local + self.late + self.skipped + self.lost

    def minus(self, before: FrameCounts) -> FrameCounts:
        """Return what has come since; nothing of a count that has fallen: that is another run."""
        return FrameCounts(**{name: max(0, value - getattr(before, name)) for name, value in vars(self).items()})

    def plus(self, other: FrameCounts) -> FrameCounts:
        """Return the sums."""
        return FrameCounts(**{name: value + getattr(other, name) for name, value in vars(self).items()})


@dataclass(frozen=True)
class DeviceDecision:
    """Why a frame was treated as it was."""

    frame_id: int
    point: str
    reason: str
    predicted_ms: float = 0.0  # from capture to detections; 0: nothing was predicted


@dataclass(frozen=True)
class DeviceLogLine:
    """A line of the device's log."""

    unix_ms: int  # by the device's own date
    level: str
    text: str


@dataclass(frozen=True)
class DeviceStatus:
    """How a device is doing. A figure that is not known is 0."""

    software: str = ""
    board: str = ""
    run_s: float = 0.0
    frames: FrameCounts = field(default_factory=FrameCounts)
    payload_bytes: int = 0  # of the frames that were answered
    point: str = ""  # of the latest frame: "w4 q5", "jpeg 50", "local", "skip"
    deadline_ms: float = 0.0
    latency_p50_ms: float = 0.0  # of the last seconds, from capture to detections
    latency_p95_ms: float = 0.0
    capacity_bps: float = 0.0
    capacity_is_bound: bool = False  # nothing has filled the link: it can do this, and perhaps more
    rtt_ms: float = 0.0
    cpu_share: float = 0.0  # of all cores, 0 to 1
    temperature_c: float = 0.0
    decisions: tuple[DeviceDecision, ...] = ()
    log: tuple[DeviceLogLine, ...] = ()
    left_out: int = 0  # decisions and lines that found no room
    preview: bytes = b""  # a JPEG
