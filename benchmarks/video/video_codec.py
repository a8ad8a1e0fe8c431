"""H.264 and H.265 as a camera would send them: no B-frames, no look-ahead, one packet a frame. Needs PyAV."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from splitnet.errors import ConfigError

if TYPE_CHECKING:
    from types import ModuleType

DECODERS = {"libx264": "h264", "libx265": "hevc"}
RATE = 10  # frames a second that the encoder is told; it decides by quality, not by rate


def require_av() -> ModuleType:
    """Return PyAV. ConfigError where it is missing."""
    try:
        import av
    except ImportError:
        raise ConfigError('H.264 needs PyAV, whose wheels contain x264 (GPL): pip install ".[video]"') from None
    av.logging.set_level(av.logging.PANIC)
    return av


class VideoCodec:
    """An encoder and its decoder on one thread each, frame by frame, with zero-latency settings."""

    def __init__(self, encoder: str, preset: str, crf: int, size: tuple[int, int]) -> None:
        """Take "libx264" or "libx265", its preset, its constant rate factor, and (width, height), both even."""
        self._av = require_av()
        self._encoder: Any = self._av.CodecContext.create(encoder, "w")
        self._encoder.width, self._encoder.height = size
        self._encoder.pix_fmt = "yuv420p"
        self._encoder.time_base, self._encoder.framerate = Fraction(1, RATE), Fraction(RATE)
        self._encoder.thread_count = 1
        options = {"preset": preset, "tune": "zerolatency", "crf": str(crf)}
        if encoder == "libx265":
            options["x265-params"] = "log-level=none:pools=none:frame-threads=1"
        self._encoder.options = options
        self._decoder: Any = self._av.CodecContext.create(DECODERS[encoder], "r")
        self._decoder.thread_count = 1
        self._sent = 0

    def encode(self, image: NDArray[np.uint8]) -> bytes:
        """Return the packet of an image (H, W, 3) BGR."""
        return self._packet(self._av.VideoFrame.from_ndarray(image, format="bgr24").reformat(format="yuv420p"))

    def encode_grey(self, grey: NDArray[np.uint8]) -> bytes:
        """Return the packet of levels (H, W) that are coded as they are, in the brightness alone."""
        colour = np.full((len(grey) // 2, grey.shape[1]), 128, np.uint8)
        return self._packet(self._av.VideoFrame.from_ndarray(np.concatenate((grey, colour)), format="yuv420p"))

    def _packet(self, frame: Any) -> bytes:
        frame.pts, self._sent = self._sent, self._sent + 1
        packets = self._encoder.encode(frame)
        assert len(packets) == 1, "the encoder holds frames back"
        return bytes(packets[0])

    def decode(self, packet: bytes) -> NDArray[np.uint8]:
        """Return the image (H, W, 3) BGR of the last packet."""
        return np.asarray(self._frame(packet).to_ndarray(format="bgr24"), np.uint8)

    def decode_grey(self, packet: bytes) -> NDArray[np.uint8]:
        """Return the levels (H, W) of the last packet."""
        frame = self._frame(packet)
        return np.asarray(frame.to_ndarray(format="yuv420p")[: frame.height], np.uint8)

    def _frame(self, packet: bytes) -> Any:
        frames = self._decoder.decode(self._av.Packet(packet))
        if not frames:
            frames = self._decoder.decode(None)
        return frames[-1]
