"""H.264 for the image mode: a stream of canvases, each coded against the one before.

By PyAV, an extra (`video`): its wheels contain FFmpeg and x264. The settings are those of a live camera: no B-frames,
no look-ahead, one packet a picture.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from splitnet.codec.h264_encoders import SOFTWARE, offered, opened
from splitnet.codec.h264_payload import MAX_NUMBER, StreamPlace, pack, unpack
from splitnet.errors import BitstreamError, ConfigError, StreamGapError

if TYPE_CHECKING:
    from types import ModuleType

_FORMATS = ("yuv420p", "yuvj420p")
_PICTURES = 17  # that a decoder may hold: H.264 has up to 16 references, and the one that is decoded
_BYTES_PER_PIXEL = 1.5
_ALIGNMENT = 64  # pixels that FFmpeg rounds rows up to, or fewer

Canvas = NDArray[np.uint8]  # (H, W, 3) BGR


def has_h264() -> bool:
    """Return whether PyAV is installed here."""
    try:
        require_av()
    except ConfigError:
        return False
    return True


def require_av() -> ModuleType:
    """Return PyAV. ConfigError where it is missing."""
    try:
        import av
    except ImportError:
        raise ConfigError(
            'H.264 needs PyAV, whose wheels contain x264 (GPL): pip install "slimsplit[video]", on the device and on '
            "the server"
        ) from None
    av.logging.set_level(av.logging.PANIC)
    return av


class H264Encoder:
    """The sender's end of one stream after another. One thread at a time."""

    def __init__(self) -> None:
        """Raise ConfigError without PyAV."""
        self._av = require_av()
        self._names = offered(self._av)
        self._context: Any = None
        self._made_for: tuple[int, ...] = ()  # quality, width, height
        self._stream, self._number = 1, 0

    @property
    def name(self) -> str:
        """Which encoder it is: the board's own as long as that works, else x264. ConfigError if there is none."""
        if not self._names:
            raise ConfigError("this build of PyAV has no H.264 encoder that is known here: install PyPI's")
        return self._names[0]

    def encode(self, canvas: Canvas, quality: int, anew: bool = False) -> bytes:
        """Return the payload of the next canvas (H, W, 3) BGR, sides even, at a quality of 0..H264_QUALITY_MAX.

        anew: begin a new stream, whose first picture stands alone; so it does at another size or quality. What a
        board's encoder cannot do, x264 does from then on.
        """
        height, width = canvas.shape[:2]
        wanted = (quality, width, height)
        anew = anew or wanted != self._made_for or self._number > MAX_NUMBER
        frame = self._av.VideoFrame.from_ndarray(canvas, format="bgr24").reformat(format="yuv420p")
        while True:
            if anew or self._context is None:
                self._context, self._made_for = None, wanted
                self._stream, self._number = (self._stream + (self._number > 0)) % 256, 0
            try:
                return self._next(frame, quality, (width, height))
            except (self._av.error.FFmpegError, BitstreamError, OSError):
                if self.name == SOFTWARE:
                    raise
                self._names.pop(0)
                self._context = None

    @property
    def is_at_keyframe(self) -> bool:
        """Whether the last picture began a stream."""
        return self._number == 1

    def _next(self, frame: Any, quality: int, size: tuple[int, int]) -> bytes:
        """Return the next picture's payload. BitstreamError if the encoder gave none, or none that a server takes."""
        if self._context is None:
            self._context = opened(self._av, self.name, quality, size)
        frame.pts = self._number
        payload = pack(StreamPlace(self._stream, self._number), b"".join(map(bytes, self._context.encode(frame))))
        unpack(payload)
        self._number += 1
        return payload


class H264Decoder:
    """The receiver's end: what one session's stream has come to. Any thread may use it, one picture at a time."""

    def __init__(self) -> None:
        """Hold nothing until the first keyframe comes."""
        self._context: Any = None
        self._next: StreamPlace | None = None
        self._lock = threading.Lock()
        self._pixels = 0

    @property
    def nbytes(self) -> int:
        """What it takes in memory, at most."""
        return round(self._pixels * _BYTES_PER_PIXEL * _PICTURES)

    def decode(self, payload: bytes, max_width: int, max_height: int) -> Canvas:
        """Return the canvas (H, W, 3) BGR of a payload.

        StreamGapError if the picture is not the one after the last; BitstreamError for whatever is no picture of at
        most that size. Then a keyframe must follow. ConfigError without PyAV.
        """
        place, access_unit = unpack(payload)
        with self._lock:
            expected, self._next = self._next, None
            if place.number == 0:
                self._context = _decoder(max_width, max_height)
            elif place != expected:
                raise StreamGapError
            canvas = _decoded(self._context, access_unit, max_width, max_height)
            self._pixels = canvas.shape[0] * canvas.shape[1]
            self._next = StreamPlace(place.stream, place.number + 1)
            return canvas


def _decoder(max_width: int, max_height: int) -> Any:
    """Return a decoder that allocates no larger images; it counts rows as they lie in memory."""
    max_pixels = -(-max_width // _ALIGNMENT) * _ALIGNMENT * max_height
    context: Any = require_av().CodecContext.create("h264", "r")
    context.thread_count = 1
    context.options = {"max_pixels": str(max_pixels), "flags": "low_delay"}
    return context


def _decoded(context: Any, access_unit: bytes, max_width: int, max_height: int) -> Canvas:
    av = require_av()
    try:
        frames = context.decode(av.Packet(access_unit))
        if len(frames) != 1 or frames[0].is_corrupt:
            raise BitstreamError("the H.264 picture is damaged: send a keyframe")
        (frame,) = frames
        if frame.format.name not in _FORMATS or frame.width > max_width or frame.height > max_height:
            raise BitstreamError(
                f"the H.264 picture is {frame.width}x{frame.height} in {frame.format.name}: a canvas is 8-bit 4:2:0 "
                f"of at most {max_width}x{max_height}"
            )
        return np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
    except (av.error.FFmpegError, ValueError, MemoryError) as error:
        raise BitstreamError(f"the H.264 picture is damaged ({error}): send a keyframe") from error
