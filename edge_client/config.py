"""The settings of `edge-client run` and `edge-client profile`."""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_client.encoding.backends import AUTO, BACKENDS
from edge_client.transport.servers import server_list
from splitnet.errors import ConfigError
from splitnet.messages import MAX_DEVICE_ID_CHARS
from splitnet.operating_point import LOCAL, SKIP, Codec, Mode, OperatingPoint
from splitnet.settings import DEFAULT_BUNDLE, option

DEFAULT_IMAGE_QUALITY = 50
BACKEND_HELP = (
    "what runs the networks on the device: ONNX Runtime (the extra onnxruntime), faster on a CPU, PyTorch, or the "
    "former where it is installed and the latter elsewhere (auto)"
)
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

    server: str | Sequence[str] | None = option(
        "the cloud-server; may be given several times: the first that works is used, and when it fails or "
        "shuts down, the next. Only --mode local needs none",
        default=None,
        action="append",
        metavar="HOST:PORT",
    )
    use_proxy: bool = option(
        "reach the servers through the proxy that the environment (http_proxy, no_proxy) names", default=False
    )
    source: str = option(
        "camera index or device, video file, folder of images or rtsp:// address",
        default="",
        metavar="SRC",
        required=True,
    )
    bundle: Path = option("bundle, the same as the server's", default=DEFAULT_BUNDLE, metavar="DIR")
    deadline_ms: float = option(
        "from capture to detections: each frame is sent so that it meets it; 0: none", default=0.0
    )
    mode: str | None = option(
        "send features (split) or the picture (image), detect on the device (local), or whatever is best "
        "for each frame (auto: the default with a deadline)",
        default=None,
        choices=MODES,
    )
    min_fps: float = option("frames a second that the choice must keep up with", default=0.0)
    max_kbps: float = option("what the uplink may carry, in 1000 bits a second", default=0.0)
    codec: str | None = option(
        "rans if not given, or jpeg in image mode", default=None, choices=[c.value for c in Codec if c.is_sent]
    )
    width: int | None = option("how much the encoder computes, 1 is the least; all if not given", default=None)
    quality: int | None = option("0 is the fewest bytes; the middle one if not given, or 50 for pictures", default=None)
    schedule: tuple[OperatingPoint, ...] = option(
        'go through a list of operating points instead: "w4 q2, w1 q0, jpeg 30"',
        default=(),
        type=parse_schedule,
        metavar="POINTS",
    )
    schedule_frames: int = option("frames on each point of the schedule", default=10)
    device: str = option("where to encode", default="cpu", choices=("cpu", "cuda"))
    threads: int = option("CPU threads of the encoder", default=1)
    backend: str = option(
        BACKEND_HELP,
        default=AUTO,
        choices=BACKENDS,
    )
    fps: float = option("frames a second from a folder", default=10.0)
    loop: bool = option("show a file or folder over and over", default=False)
    as_fast_as_possible: bool = option("take every frame of a file or folder, at the server's pace", default=False)
    max_frames: int = option("stop after so many frames; 0: at the source's end", default=0)
    out: Path | None = option("write detections, one JSON object a line", default=None, metavar="FILE.jsonl")
    trace_out: Path | None = option(
        "write what was chosen for each frame, why, and what came of it", default=None, metavar="FILE.jsonl"
    )
    profile: Path | None = option("this device's profile, instead of the kept one", default=None, metavar="FILE.json")
    annotate: Path | None = option(
        "draw boxes into a video (.mp4 .mov .mkv .avi) or a folder of PNG pictures", default=None, metavar="FILE.mp4"
    )
    json_summary: Path | None = option("write the summary as JSON", default=None, metavar="FILE.json")
    camera_patience_s: float = option("seconds to look for a camera that has disappeared", default=30.0)
    device_id: str = option(
        "name of this device in the server's log",
        default=platform.node()[:MAX_DEVICE_ID_CHARS] or "edge-client",
        metavar="NAME",
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

    bundle: Path = option("bundle to measure", default=DEFAULT_BUNDLE, metavar="DIR")
    source: str = option("video file or folder to take frames from; drawn ones if not given", default="", metavar="SRC")
    frames: int = option("frames measured at each operating point", default=50)
    seconds: float = option("measure no longer than this", default=20.0)
    quality: int | None = option("quality measured; the middle one if not given", default=None)
    device: str = option("where to encode", default="cpu", choices=("cpu", "cuda"))
    threads: int = option("CPU threads of the encoder", default=1)
    backend: str = option(
        BACKEND_HELP,
        default=AUTO,
        choices=BACKENDS,
    )
    server: str = option(
        "measure the way to it as well, and say which mode serves best", default="", metavar="HOST:PORT"
    )
    deadline_ms: float = option("from capture to detections, for the advice", default=200.0)
    fps: float = option("frames a second, for the advice", default=10.0)
    out: Path | None = option("write all that was measured here as well", default=None, metavar="FILE.json")

    def __post_init__(self) -> None:
        """Raise ConfigError if a setting is out of range."""
        if min(self.frames, self.threads, self.seconds, self.deadline_ms, self.fps) <= 0:
            raise ConfigError("--frames, --seconds, --threads, --deadline-ms and --fps must be positive")
