"""The settings of `edge-client run` about where frames come from."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from edge_client.camera_list import NamedSource, named_sources
from edge_client.capture.source import AUTO, NETWORK_TIMEOUT_S, TRANSPORTS
from edge_client.group_config import GROUP_SCHEME
from splitnet.errors import ConfigError
from splitnet.messages import MAX_FRAME_SIDE
from splitnet.settings import option

LEAST_FRAME_SIDE = 16
_HEADING = "source"


def parse_size(text: str) -> tuple[int, int]:
    """Return width and height of "1280x720". ConfigError if it is none."""
    found = re.fullmatch(r"([0-9]{1,5})[xX]([0-9]{1,5})", text)
    sides = (int(found[1]), int(found[2])) if found else (0, 0)
    if not all(LEAST_FRAME_SIDE <= side <= MAX_FRAME_SIDE for side in sides):
        raise ConfigError(
            f"a size is WIDTHxHEIGHT, such as 1280x720, of {LEAST_FRAME_SIDE} to {MAX_FRAME_SIDE} pixels, not {text!r}"
        )
    return sides


@dataclass(frozen=True)
class SourceConfig:
    """Which cameras or files there are, and how they are asked."""

    source: str | Sequence[str] = option(
        "camera index or device, video file, image or folder of images, named pipe, rtsp:// or http:// address, "
        "csi:0, gst:PIPELINE, ffmpeg:INPUT, group://HOST:PORT; NAME=SRC names it. Several times: several cameras",
        default="",
        action="append",
        metavar="SRC",
        required=True,
        group=_HEADING,
        separator="\n",  # addresses and pipelines have commas
    )
    fps: float = option("frames a second from a folder or a csi: camera", default=10.0, group=_HEADING)
    loop: bool = option("show a file or folder over and over", default=False, group=_HEADING)
    as_fast_as_possible: bool = option(
        "take every frame of a file or folder, at the server's pace", default=False, group=_HEADING
    )
    max_frames: int = option("stop after this many frames; 0: at the source's end", default=0, group=_HEADING)
    camera_patience_s: float = option("seconds to look for a camera that has disappeared", default=30.0, group=_HEADING)
    camera_timeout_s: float = option(
        "seconds without a frame, after which a network camera or a program counts as gone",
        default=NETWORK_TIMEOUT_S,
        group=_HEADING,
    )
    rtsp_transport: str = option(
        "how rtsp:// cameras send; auto: TCP if they can", default=AUTO, choices=TRANSPORTS, group=_HEADING
    )
    frame_size: tuple[int, int] | None = option(
        "ask cameras and programs for images of this size, such as 1280x720",
        default=None,
        type=parse_size,
        metavar="WxH",
        group=_HEADING,
    )

    def check_source(self) -> None:
        """Raise ConfigError if a setting of the source is out of range."""
        named_sources(self.source)
        if not 0 < self.fps < math.inf:
            raise ConfigError("--fps must be positive")
        if not (0 <= self.max_frames < math.inf and 0 <= self.camera_patience_s < math.inf):
            raise ConfigError("--max-frames and --camera-patience-s cannot be negative")
        if not 0 < self.camera_timeout_s < math.inf:
            raise ConfigError("--camera-timeout-s is a positive number of seconds")

    @property
    def takes_images(self) -> bool:
        """Whether the images are those that another device of the group hands on."""
        return any(address.startswith(GROUP_SCHEME) for _, address in self.cameras)

    @property
    def cameras(self) -> tuple[NamedSource, ...]:
        """The sources by name."""
        return named_sources(self.source)
