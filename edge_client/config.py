"""The settings of `edge-client run` and `edge-client profile`."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_client.encoding.backends import AUTO, BACKENDS
from edge_client.transport.servers import server_list
from splitnet.errors import ConfigError
from splitnet.messages import MAX_DEVICE_ID_CHARS
from splitnet.operating_point import LOCAL, SKIP, Codec, Mode, OperatingPoint
from splitnet.settings import DEFAULT_BUNDLE

DEFAULT_IMAGE_QUALITY = 50
MODES = ("auto", Mode.SPLIT.value, Mode.IMAGE.value, Mode.LOCAL.value)

_SPLIT_POINT = re.compile(r"w(\d+) q(\d+)( zstd)?")
_IMAGE_POINT = re.compile(r"(jpeg|webp) (\d+)")


def parse_point(text: str) -> OperatingPoint:
    """Return the operating point written as in the tables: "w4 q2", "w4 q2 zstd", "jpeg 30", "local"."""
    if match := _SPLIT_POINT.fullmatch(text.strip()):
        codec = Codec.ZSTD if match[3] else Codec.RANS
        return OperatingPoint(codec, int(match[1]), int(match[2]))
    if match := _IMAGE_POINT.fullmatch(text.strip()):
        return OperatingPoint(Codec(match[1]), 0, int(match[2]))
    for point in (LOCAL, SKIP):
        if text.strip() == str(point):
            return point
    raise ConfigError(f'{text!r} is not an operating point; write "w4 q2", "w4 q2 zstd", "jpeg 30" or "local"')


def parse_schedule(text: str) -> tuple[OperatingPoint, ...]:
    """Return the operating points of a comma-separated list."""
    return tuple(parse_point(part) for part in text.split(","))


@dataclass(frozen=True)
class RunConfig:
    """Settings of `edge-client run`."""

    server: str | Sequence[str] | None = field(
        default=None,
        metadata={
            "type": str,
            "action": "append",
            "help": "the cloud-server; may be given several times: the first that works is used, and when it fails or "
            "shuts down, the next. Only --mode local needs none",
            "metavar": "HOST:PORT",
        },
    )
    source: str = field(
        default="",
        metadata={
            "help": "camera index, video file, rtsp:// address or folder of pictures",
            "metavar": "SRC",
            "required": True,
        },
    )
    bundle: Path = field(
        default=DEFAULT_BUNDLE, metadata={"help": "bundle, the same as the server's", "metavar": "DIR"}
    )
    deadline_ms: float = field(
        default=0.0,
        metadata={"help": "from capture to detections: each frame is sent so that it meets it; 0: none"},
    )
    mode: str | None = field(
        default=None,
        metadata={
            "type": str,
            "help": "send features (split) or the picture (image), detect on the device (local), or whatever is best "
            "for each frame (auto: the default with a deadline)",
            "choices": MODES,
        },
    )
    min_fps: float = field(default=0.0, metadata={"help": "frames a second that the choice must keep up with"})
    max_kbps: float = field(default=0.0, metadata={"help": "what the uplink may carry, in 1000 bits a second"})
    codec: str | None = field(
        default=None,
        metadata={
            "type": str,
            "help": "rans if not given, or jpeg in image mode",
            "choices": [c.value for c in Codec if c.is_sent],
        },
    )
    width: int | None = field(default=None, metadata={"type": int, "help": "members of the encoder; all if not given"})
    quality: int | None = field(
        default=None,
        metadata={
            "type": int,
            "help": "0 is the fewest bytes; the middle one if not given, or 50 for pictures",
        },
    )
    schedule: tuple[OperatingPoint, ...] = field(
        default=(),
        metadata={
            "type": parse_schedule,
            "help": 'go through a list of operating points instead: "w4 q2, w1 q0, jpeg 30"',
            "metavar": "POINTS",
        },
    )
    schedule_frames: int = field(default=10, metadata={"help": "frames on each point of the schedule"})
    device: str = field(default="cpu", metadata={"help": "where to encode", "choices": ("cpu", "cuda")})
    threads: int = field(default=1, metadata={"help": "CPU threads of the encoder"})
    backend: str = field(
        default=AUTO,
        metadata={
            "help": "what runs the encoder: ONNX Runtime (the extra onnxruntime), faster on a CPU, PyTorch, or the "
            "former where it is installed and the latter elsewhere (auto)",
            "choices": BACKENDS,
        },
    )
    fps: float = field(default=10.0, metadata={"help": "frames a second from a folder"})
    loop: bool = field(default=False, metadata={"help": "show a file or folder over and over"})
    as_fast_as_possible: bool = field(
        default=False, metadata={"help": "take every frame of a file or folder, at the server's pace"}
    )
    max_frames: int = field(default=0, metadata={"help": "stop after so many frames; 0: at the source's end"})
    out: Path | None = field(
        default=None,
        metadata={"type": Path, "help": "write detections, one JSON object a line", "metavar": "FILE.jsonl"},
    )
    trace_out: Path | None = field(
        default=None,
        metadata={
            "type": Path,
            "help": "write what was chosen for each frame, why, and what came of it",
            "metavar": "FILE.jsonl",
        },
    )
    profile: Path | None = field(
        default=None,
        metadata={"type": Path, "help": "this device's profile, instead of the kept one", "metavar": "FILE.json"},
    )
    annotate: Path | None = field(
        default=None,
        metadata={
            "type": Path,
            "help": "draw boxes into a video (.mp4 .mov .mkv .avi) or a folder of PNG pictures",
            "metavar": "FILE.mp4",
        },
    )
    json_summary: Path | None = field(
        default=None, metadata={"type": Path, "help": "write the summary as JSON", "metavar": "FILE.json"}
    )
    camera_patience_s: float = field(
        default=30.0, metadata={"help": "seconds to look for a camera that has disappeared"}
    )
    device_id: str = field(
        default=platform.node()[:MAX_DEVICE_ID_CHARS] or "edge-client",
        metadata={"help": "name of this device in the server's log", "metavar": "NAME"},
    )

    def __post_init__(self) -> None:
        """Raise ConfigError if a setting is out of range or contradicts another one."""
        if self.threads < 1 or self.fps <= 0 or self.schedule_frames < 1:
            raise ConfigError("--threads, --fps and --schedule-frames must be positive")
        if min(self.deadline_ms, self.min_fps, self.max_kbps) < 0:
            raise ConfigError("--deadline-ms, --min-fps and --max-kbps cannot be negative")
        if not server_list(self.server) and self.mode != Mode.LOCAL.value:
            raise ConfigError("give --server HOST:PORT; only --mode local needs none")
        if self.mode in (Mode.SPLIT.value, Mode.IMAGE.value):
            if self.codec and Codec(self.codec).mode.value != self.mode:
                raise ConfigError(f"--codec {self.codec} does not belong to --mode {self.mode}; give only one of them")
        elif self.mode and self.fixes_the_point:
            raise ConfigError(f"--mode {self.mode} leaves no operating point to fix: leave it out")

    @property
    def fixes_the_point(self) -> bool:
        """Whether the user has said which operating points to use."""
        return bool(self.schedule) or any(given is not None for given in (self.codec, self.width, self.quality))

    def point(self, widths: int, qualities: int) -> OperatingPoint:
        """Return the fixed operating point for a bundle with so many widths and qualities."""
        default_codec = Codec.JPEG if self.mode == Mode.IMAGE.value else Codec.RANS
        codec = Codec(self.codec) if self.codec else default_codec
        if codec.mode is Mode.IMAGE:
            return OperatingPoint(codec, 0, DEFAULT_IMAGE_QUALITY if self.quality is None else self.quality)
        width = widths if self.width is None else self.width
        return OperatingPoint(codec, width, qualities // 2 if self.quality is None else self.quality)


@dataclass(frozen=True)
class ProfileConfig:
    """Settings of `edge-client profile`."""

    bundle: Path = field(default=DEFAULT_BUNDLE, metadata={"help": "bundle to measure", "metavar": "DIR"})
    source: str = field(
        default="",
        metadata={
            "help": "video file or folder to take frames from; drawn ones if not given",
            "metavar": "SRC",
        },
    )
    frames: int = field(default=50, metadata={"help": "frames measured at each operating point"})
    seconds: float = field(default=20.0, metadata={"help": "measure no longer than this"})
    quality: int | None = field(
        default=None, metadata={"type": int, "help": "quality measured; the middle one if not given"}
    )
    device: str = field(default="cpu", metadata={"help": "where to encode", "choices": ("cpu", "cuda")})
    threads: int = field(default=1, metadata={"help": "CPU threads of the encoder"})
    backend: str = field(
        default=AUTO,
        metadata={
            "help": "what runs the encoder: ONNX Runtime (the extra onnxruntime), faster on a CPU, PyTorch, or the "
            "former where it is installed and the latter elsewhere (auto)",
            "choices": BACKENDS,
        },
    )
    server: str = field(
        default="",
        metadata={"help": "measure the way to it as well, and say which mode serves best", "metavar": "HOST:PORT"},
    )
    deadline_ms: float = field(default=200.0, metadata={"help": "from capture to detections, for the advice"})
    fps: float = field(default=10.0, metadata={"help": "frames a second, for the advice"})
    out: Path | None = field(
        default=None,
        metadata={"type": Path, "help": "write all that was measured here as well", "metavar": "FILE.json"},
    )

    def __post_init__(self) -> None:
        """Raise ConfigError if a setting is out of range."""
        if min(self.frames, self.threads, self.seconds, self.deadline_ms, self.fps) <= 0:
            raise ConfigError("--frames, --seconds, --threads, --deadline-ms and --fps must be positive")
