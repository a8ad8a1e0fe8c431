"""Encoders of H.264 that PyAV may offer: a board's own, and x264, each set up for a live camera.

No B-frames, no look-ahead, one packet a picture, no keyframe but the first: a new stream begins with one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from splitnet.operating_point import H264_QUALITY_MAX

if TYPE_CHECKING:
    from types import ModuleType

SOFTWARE = "libx264"
PRESET = "veryfast"
RATE = 10  # frames a second that the encoder is told; it decides by quality, not by rate
_NEVER = 1 << 16  # pictures until a keyframe comes by itself: more than a stream has
_AMPLE_BPS = 20_000_000  # that the bounds of the quantiser decide, not the rate


def _x264(context: Any, quality: int) -> None:
    context.options = {
        "preset": PRESET,
        "tune": "zerolatency",
        "crf": str(H264_QUALITY_MAX - quality),
        "x264-params": "keyint=infinite",  # a keyframe when the server needs one, not by the clock
    }


def _v4l2(context: Any, quality: int) -> None:
    # A Video4Linux device (Raspberry Pi 3 and 4, many others) knows rates and bounds of the quantiser, no rate factor.
    # Both bounds are x264's rate factor: about the same quality.
    context.bit_rate, context.gop_size, context.max_b_frames = _AMPLE_BPS, _NEVER, 0
    context.options = {"qmin": str(H264_QUALITY_MAX - quality), "qmax": str(H264_QUALITY_MAX - quality)}


ENCODERS: Mapping[str, Callable[[Any, int], None]] = {"h264_v4l2m2m": _v4l2, SOFTWARE: _x264}  # the best first


def offered(av: ModuleType) -> list[str]:
    """Return the encoders that a PyAV was built with, the best first; whether a board has the device shows later."""
    return [name for name in ENCODERS if name in av.codecs_available]


def opened(av: ModuleType, name: str, quality: int, size: tuple[int, int]) -> Any:
    """Return an encoder's context for pictures of (width, height). av.error.FFmpegError where it cannot be opened."""
    context: Any = av.CodecContext.create(name, "w")
    context.width, context.height = size
    context.pix_fmt, context.thread_count = "yuv420p", 1
    context.time_base, context.framerate = Fraction(1, RATE), Fraction(RATE)
    ENCODERS[name](context, quality)
    context.open()
    return context
