"""The settings of `edge-client run` about what is sent: a fixed operating point, or by what it is chosen."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge_client.adaptation.controller import BYTE_PRICE_AP
from splitnet.errors import ConfigError
from splitnet.operating_point import Codec, Mode, OperatingPoint, parse_points
from splitnet.settings import option

DEFAULT_IMAGE_QUALITY, DEFAULT_H264_QUALITY = 50, 19
MODES = ("auto", Mode.SPLIT.value, Mode.IMAGE.value, Mode.LOCAL.value)
_HEADING = "what is sent"


@dataclass(frozen=True)
class ChoiceConfig:
    """What each frame is sent as, and in what time its answer is wanted."""

    deadline_ms: float = option(
        "from capture to detections: each frame is sent so that it meets it; 0: none", default=0.0, group=_HEADING
    )
    mode: str | None = option(
        "send features (split) or the image (image), detect on the device (local), or whatever is best "
        "for each frame (auto: the default with a deadline)",
        default=None,
        choices=MODES,
        group=_HEADING,
    )
    min_fps: float = option("frames a second that the choice must keep up with", default=0.0, group=_HEADING)
    max_kbps: float = option(
        "what the uplink may carry, in 1000 bits a second; 0: no limit", default=0.0, group=_HEADING
    )
    byte_price_ap: float = option(
        "accuracy (AP) that a doubling of a frame's bytes must gain; 0: bytes cost nothing",
        default=BYTE_PRICE_AP,
        group=_HEADING,
    )
    codec: str | None = option(
        "rans if not given, or jpeg in image mode; h264 needs the extra video, here and on the server",
        default=None,
        choices=[c.value for c in Codec if c.is_sent],
        group=_HEADING,
    )
    width: int | None = option(
        "how much the encoder computes, 1 is the least; all if not given", default=None, group=_HEADING
    )
    quality: int | None = option(
        "0 is the fewest bytes; the middle one if not given, or 50 for images, 19 of 51 for h264",
        default=None,
        group=_HEADING,
    )
    schedule: tuple[OperatingPoint, ...] = option(
        'go through a list of operating points instead: "w4 q2, w1 q0, jpeg 30"',
        default=(),
        type=parse_points,
        metavar="POINTS",
        group=_HEADING,
    )
    schedule_frames: int = option("frames on each point of the schedule", default=10, group=_HEADING)
    whole_frames: bool = option(
        "code every frame by itself, not as changes against one that the server has", default=False, group=_HEADING
    )
    repeat_s: float = option(
        "where nothing has changed, send nothing and repeat the last answer, until it is so many seconds old; 0: never",
        default=0.0,
        group=_HEADING,
    )
    in_layers: bool = option(
        "send features in layers, coarse first, where a frame may be late: then it is coarser instead",
        default=False,
        group=_HEADING,
    )

    def check_choice(self) -> None:
        """Raise ConfigError if a setting of the choice is out of range or contradicts another one."""
        limits = (self.deadline_ms, self.min_fps, self.max_kbps, self.byte_price_ap)
        if not all(0 <= limit < math.inf for limit in limits):
            raise ConfigError("--deadline-ms, --min-fps, --max-kbps and --byte-price-ap cannot be negative")
        if self.schedule_frames < 1:
            raise ConfigError("--schedule-frames must be positive")
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
        """Return the fixed operating point for a bundle's number of widths and of qualities."""
        default_codec = Codec.JPEG if self.mode == Mode.IMAGE.value else Codec.RANS
        codec = Codec(self.codec) if self.codec else default_codec
        if codec.mode is Mode.IMAGE:
            usual = DEFAULT_H264_QUALITY if codec is Codec.H264 else DEFAULT_IMAGE_QUALITY
            return OperatingPoint(codec, 0, usual if self.quality is None else self.quality)
        width = widths if self.width is None else self.width
        return OperatingPoint(codec, width, qualities // 2 if self.quality is None else self.quality)
