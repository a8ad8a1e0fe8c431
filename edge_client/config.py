"""The settings of `edge-client run`."""

from __future__ import annotations

import math
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_client.adaptation.controller import BYTE_PRICE_AP
from edge_client.camera_list import NamedSource, named_sources
from edge_client.capture.source import AUTO as TRANSPORT_AUTO
from edge_client.capture.source import NETWORK_TIMEOUT_S, TRANSPORTS
from edge_client.encoding.backends import AUTO, BACKENDS
from edge_client.group_config import GROUP_SCHEME, GroupConfig
from edge_client.transport.servers import server_list
from edge_client.transport.tls_files import tls_option
from splitnet.errors import ConfigError
from splitnet.messages import MAX_DEVICE_ID_CHARS, MAX_FRAME_SIDE, MAX_FURTHER
from splitnet.operating_point import Codec, Mode, OperatingPoint, parse_points
from splitnet.outputs.outputs_config import OutputsConfig
from splitnet.settings import DEFAULT_BUNDLE, option
from splitnet.text import printable

LEAST_FRAME_SIDE = 16
DEFAULT_IMAGE_QUALITY, DEFAULT_H264_QUALITY = 50, 19
BACKEND_HELP = (
    "what runs the networks on the device: ONNX Runtime (the extra onnxruntime), faster on a CPU, PyTorch, or the "
    "former where it is installed and the latter elsewhere (auto)"
)
MODES = ("auto", Mode.SPLIT.value, Mode.IMAGE.value, Mode.LOCAL.value)

MAX_ANSWER_TIMEOUT_S = 3600.0
PROXY_HELP = "reach the servers through the proxy that the environment (http_proxy, no_proxy) names"
# Headings of the help.
_SOURCE, _SERVERS, _CHOICE, _DEVICE, _OUTPUT = "source", "servers", "what is sent", "this device", "output"
_MODELS = "models from the server"


def address_of(option: str, text: str) -> tuple[str, int]:
    """Return host and port of "HOST:PORT". ConfigError, which names the option, if it is none."""
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdecimal() and int(port) <= 65535):
        raise ConfigError(f"{option} takes HOST:PORT, such as 127.0.0.1:9108, not {text!r}")
    return host, int(port)


def parse_size(text: str) -> tuple[int, int]:
    """Return width and height of "1280x720". ConfigError if it is none."""
    found = re.fullmatch(r"([0-9]{1,5})[xX]([0-9]{1,5})", text)
    sides = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(LEAST_FRAME_SIDE <= side <= MAX_FRAME_SIDE for side in sides):
        raise ConfigError(
            f"a size is WIDTHxHEIGHT, such as 1280x720, of {LEAST_FRAME_SIDE} to {MAX_FRAME_SIDE} pixels, not {text!r}"
        )
    return sides


def default_device_id() -> str:
    """Return this machine's name as a server may log it."""
    return printable(platform.node(), MAX_DEVICE_ID_CHARS) or "edge-client"


@dataclass(frozen=True)
class RunConfig(OutputsConfig, GroupConfig):
    """Settings of `edge-client run`."""

    source: str | Sequence[str] = option(
        "camera index or device, video file, image or folder of images, named pipe, rtsp:// or http:// address, "
        "csi:0, gst:PIPELINE, ffmpeg:INPUT, group://HOST:PORT; NAME=SRC names it. Several times: several cameras",
        default="",
        action="append",
        metavar="SRC",
        required=True,
        group=_SOURCE,
        separator="\n",  # addresses and pipelines have commas
    )
    fps: float = option("frames a second from a folder or a csi: camera", default=10.0, group=_SOURCE)
    loop: bool = option("show a file or folder over and over", default=False, group=_SOURCE)
    as_fast_as_possible: bool = option(
        "take every frame of a file or folder, at the server's pace", default=False, group=_SOURCE
    )
    max_frames: int = option("stop after this many frames; 0: at the source's end", default=0, group=_SOURCE)
    camera_patience_s: float = option("seconds to look for a camera that has disappeared", default=30.0, group=_SOURCE)
    camera_timeout_s: float = option(
        "seconds without a frame, after which a network camera or a program counts as gone",
        default=NETWORK_TIMEOUT_S,
        group=_SOURCE,
    )
    rtsp_transport: str = option(
        "how rtsp:// cameras send; auto: TCP if they can", default=TRANSPORT_AUTO, choices=TRANSPORTS, group=_SOURCE
    )
    frame_size: tuple[int, int] | None = option(
        "ask cameras and programs for images of this size, such as 1280x720",
        default=None,
        type=parse_size,
        metavar="WxH",
        group=_SOURCE,
    )
    server: str | Sequence[str] | None = option(
        "the cloud-server; may be given several times: the first that works is used, and when it fails or "
        "shuts down, the next. Only --mode local needs none",
        default=None,
        action="append",
        metavar="HOST:PORT",
        group=_SERVERS,
    )
    answer_timeout_s: float = option(
        "seconds until a frame without an answer is lost and the session opened anew: more where the link or this "
        "device is very slow",
        default=10.0,
        group=_SERVERS,
    )
    use_proxy: bool = option(
        PROXY_HELP,
        default=False,
        group=_SERVERS,
    )
    device_id: str = option(
        "name of this device in the server's log", default=default_device_id(), metavar="NAME", group=_SERVERS
    )
    no_status: bool = option(
        "say nothing to the server's status page: how this device is doing, its decisions and its log",
        default=False,
        group=_SERVERS,
    )
    preview: bool = option(
        "show small images of this camera on the server's status page, where the link has room for them",
        default=False,
        group=_SERVERS,
    )
    deadline_ms: float = option(
        "from capture to detections: each frame is sent so that it meets it; 0: none", default=0.0, group=_CHOICE
    )
    mode: str | None = option(
        "send features (split) or the image (image), detect on the device (local), or whatever is best "
        "for each frame (auto: the default with a deadline)",
        default=None,
        choices=MODES,
        group=_CHOICE,
    )
    min_fps: float = option("frames a second that the choice must keep up with", default=0.0, group=_CHOICE)
    max_kbps: float = option(
        "what the uplink may carry, in 1000 bits a second; 0: no limit", default=0.0, group=_CHOICE
    )
    byte_price_ap: float = option(
        "accuracy (AP) that a doubling of a frame's bytes must gain; 0: bytes cost nothing",
        default=BYTE_PRICE_AP,
        group=_CHOICE,
    )
    codec: str | None = option(
        "rans if not given, or jpeg in image mode; h264 needs the extra video, here and on the server",
        default=None,
        choices=[c.value for c in Codec if c.is_sent],
        group=_CHOICE,
    )
    width: int | None = option(
        "how much the encoder computes, 1 is the least; all if not given", default=None, group=_CHOICE
    )
    quality: int | None = option(
        "0 is the fewest bytes; the middle one if not given, or 50 for images, 19 of 51 for h264",
        default=None,
        group=_CHOICE,
    )
    schedule: tuple[OperatingPoint, ...] = option(
        'go through a list of operating points instead: "w4 q2, w1 q0, jpeg 30"',
        default=(),
        type=parse_points,
        metavar="POINTS",
        group=_CHOICE,
    )
    schedule_frames: int = option("frames on each point of the schedule", default=10, group=_CHOICE)
    whole_frames: bool = option(
        "code every frame by itself, not as changes against one that the server has", default=False, group=_CHOICE
    )
    repeat_s: float = option(
        "where nothing has changed, send nothing and repeat the last answer, until it is so many seconds old; 0: never",
        default=0.0,
        group=_CHOICE,
    )
    in_layers: bool = option(
        "send features in layers, coarse first, where a frame may be late: then it is coarser instead",
        default=False,
        group=_CHOICE,
    )
    bundle: Path = option(
        "bundle, the same as the server's; if not given, what the server delivers takes its place",
        default=DEFAULT_BUNDLE,
        metavar="DIR",
        group=_DEVICE,
    )
    further_bundle: Sequence[Path] | None = option(
        "another bundle of the server that answers each frame, too; may be given up to three times. Only its "
        "manifest.json must be on this device",
        default=None,
        action="append",
        metavar="DIR",
        group=_DEVICE,
    )
    no_updates: bool = option("take no models from the server", default=False, group=_MODELS)
    trust: str = option(
        "take models signed by whom `cloud-server keys show` names, or by a 1.root.json of theirs; remembered",
        default="",
        metavar="FINGERPRINT",
        group=_MODELS,
    )
    trust_on_first_use: bool = option(
        "trust whoever signs the models of the first server that is reached, from then on", default=False, group=_MODELS
    )
    models: Path | None = option(
        "folder for models (default: ~/.local/share/slimsplit/models)", default=None, metavar="DIR", group=_MODELS
    )
    models_mb: float = option("most that models may take which are not in use", default=300.0, group=_MODELS)
    trial_s: float = option("seconds that a new model is watched before it stays", default=20.0, group=_MODELS)
    device: str = option("where to encode", default="cpu", choices=("cpu", "cuda"), group=_DEVICE)
    threads: int = option("CPU threads of the encoder", default=1, group=_DEVICE)
    backend: str = option(BACKEND_HELP, default=AUTO, choices=BACKENDS, group=_DEVICE)
    profile: Path | None = option(
        "this device's profile, instead of the kept one", default=None, metavar="FILE.json", group=_DEVICE
    )
    server_ca: str | None = tls_option("server_ca")
    client_cert: Path | None = tls_option("client_cert")
    client_key: Path | None = tls_option("client_key")
    token_file: Path | None = tls_option("token_file")
    identity: Path | None = tls_option("identity")
    smooth: bool = option(
        "give frames that nobody looked at the boxes of the last answers, moved on, marked as predicted",
        default=False,
        group=_OUTPUT,
    )
    view: bool = option(
        "show frames and boxes in a window, or without a display on a web page of this machine",
        default=False,
        group=_OUTPUT,
    )
    view_port: int = option("port of that page; 0: a free one", default=8090, metavar="PORT", group=_OUTPUT)
    out: Path | None = option(
        "write detections, one JSON object a line", default=None, metavar="FILE.jsonl", group=_OUTPUT
    )
    annotate: Path | None = option(
        "draw boxes into a video (.mp4 .mov .mkv .avi) or a folder of images",
        default=None,
        metavar="FILE.mp4",
        group=_OUTPUT,
    )
    min_score: float = option(
        "show and write only objects with at least this score; the server leaves out those below 0.25",
        default=0.0,
        group=_OUTPUT,
    )
    trace_out: Path | None = option(
        "write what was chosen for each frame, why, and what came of it",
        default=None,
        metavar="FILE.jsonl",
        group=_OUTPUT,
    )
    metrics: str = option(
        "address of metrics for Prometheus, such as 0.0.0.0:9108 (the extra metrics); none if not given",
        default="",
        metavar="HOST:PORT",
        group=_OUTPUT,
    )
    log_format: str = option(
        "warnings and errors as lines for people, or as JSON for collectors",
        default="text",
        choices=("text", "json"),
        group=_OUTPUT,
    )
    json_summary: Path | None = option("write the summary as JSON", default=None, metavar="FILE.json", group=_OUTPUT)

    def __post_init__(self) -> None:
        """Raise ConfigError if a setting is out of range or contradicts another one."""
        super().__post_init__()
        named_sources(self.source)
        if not 0 < len(self.device_id) <= MAX_DEVICE_ID_CHARS or not self.device_id.isprintable():
            raise ConfigError(f"--device-id is printable text of at most {MAX_DEVICE_ID_CHARS} characters")
        if not 1 <= self.answer_timeout_s <= MAX_ANSWER_TIMEOUT_S:
            raise ConfigError(f"--answer-timeout-s lies between 1 and {MAX_ANSWER_TIMEOUT_S:g}")
        if self.threads < 1 or not 0 < self.fps < math.inf or self.schedule_frames < 1:
            raise ConfigError("--threads, --fps and --schedule-frames must be positive")
        if self.metrics:
            address_of("--metrics", self.metrics)
        limits = (
            self.deadline_ms,
            self.min_fps,
            self.max_kbps,
            self.max_frames,
            self.camera_patience_s,
            self.byte_price_ap,
            self.models_mb,
            self.trial_s,
        )
        if not all(0 <= limit < math.inf for limit in limits):
            raise ConfigError("--deadline-ms, --min-fps and all other times, rates and numbers cannot be negative")
        if not 0 < self.camera_timeout_s < math.inf:
            raise ConfigError("--camera-timeout-s is a positive number of seconds")
        if not (0 <= self.min_score <= 1 and 0 <= self.view_port < 65536):
            raise ConfigError("--min-score lies between 0 and 1, --view-port between 0 and 65535")
        if not server_list(self.server) and self.mode != Mode.LOCAL.value:
            raise ConfigError("give --server HOST:PORT; only --mode local needs none")
        if self.further_bundle and (self.mode == Mode.LOCAL.value or len(self.further_bundle) > MAX_FURTHER):
            raise ConfigError(f"--further-bundle is for a server, and for {MAX_FURTHER} bundles at most")
        self.check_group()
        if self.group:
            self._check_fits_group()
        if self.mode in (Mode.SPLIT.value, Mode.IMAGE.value):
            if self.codec and Codec(self.codec).mode.value != self.mode:
                raise ConfigError(f"--codec {self.codec} does not belong to --mode {self.mode}; give only one of them")
        elif self.mode and self.fixes_the_point:
            raise ConfigError(f"--mode {self.mode} leaves no operating point to fix: leave it out")

    def _check_fits_group(self) -> None:
        """Raise ConfigError for what a device of a group cannot do."""
        if self.mode not in (None, Mode.SPLIT.value) or self.further_bundle or self.in_layers or self.schedule:
            raise ConfigError(
                "a device of a group sends its part of the features: leave --mode, --further-bundle, --in-layers and "
                "--schedule out"
            )
        if len(self.cameras) > 1:
            raise ConfigError("a group looks at one camera: give one --source")
        if self.takes_images and self.group_listen:
            raise ConfigError("images from the group's owner are not handed on again: leave --group-listen out")
        if self.group_listen:
            address_of("--group-listen", self.group_listen)
            if self.as_fast_as_possible:
                raise ConfigError("images are handed on at a camera's pace: leave --as-fast-as-possible out")

    @property
    def takes_images(self) -> bool:
        """Whether the images are those that another device of the group hands on."""
        return any(address.startswith(GROUP_SCHEME) for _, address in self.cameras)

    @property
    def cameras(self) -> tuple[NamedSource, ...]:
        """The sources by name."""
        return named_sources(self.source)

    @property
    def fixes_the_point(self) -> bool:
        """Whether the user has said which operating points to use."""
        return bool(self.schedule) or any(given is not None for given in (self.codec, self.width, self.quality))

    def point(self, widths: int, qualities: int) -> OperatingPoint:
        """Return the fixed operating point for a bundle's number of widths and of qualities."""
        default_codec = Codec.JPEG if self.mode == Mode.IMAGE.value else Codec.RANS
        codec = Codec(self.codec) if self.codec else default_codec
        if codec.mode is Mode.IMAGE:
            usual = DEFAULT_H264_QUALITY if codec is Codec.H264 else DEFAULT_IMAGE_QUALITY
            return OperatingPoint(codec, 0, usual if self.quality is None else self.quality)
        width = widths if self.width is None else self.width
        return OperatingPoint(codec, width, qualities // 2 if self.quality is None else self.quality)
