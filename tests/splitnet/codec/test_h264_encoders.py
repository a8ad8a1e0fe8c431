"""A board's own H.264 encoder is taken where there is one that works, and x264 where it does not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from splitnet.codec import h264
from splitnet.codec.h264 import H264Decoder, H264Encoder, require_av
from splitnet.codec.h264_encoders import ENCODERS, SOFTWARE, offered
from splitnet.codec.h264_payload import unpack
from splitnet.errors import ConfigError

BOARD = "h264_v4l2m2m"
WIDTH, HEIGHT, QUALITY = 96, 64, 27
REAL = require_av()


class Board:
    """A board's encoder as PyAV shows it; inside it is x264. What it is asked for is kept."""

    def __init__(self, opens: bool, silent_from: int | None) -> None:
        self._opens, self._silent_from, self._pictures = opens, silent_from, 0
        self.options: dict[str, str] = {}
        self._inner: Any = REAL.CodecContext.create(SOFTWARE, "w")

    def open(self) -> None:
        if not self._opens:
            raise REAL.error.FileNotFoundError(2, "Could not find a valid device")
        for name in ("width", "height", "pix_fmt", "time_base", "framerate", "thread_count"):
            setattr(self._inner, name, getattr(self, name))
        self._inner.options = {"tune": "zerolatency", "qp": self.options["qmin"], "preset": "ultrafast"}

    def encode(self, frame: Any) -> list[Any]:
        self._pictures += 1
        packets = list(self._inner.encode(frame))
        return [] if self._silent_from is not None and self._pictures > self._silent_from else packets


@pytest.fixture
def board(monkeypatch):
    """Return a function that gives PyAV a board's encoder, and the list of those that were made."""

    def give(opens: bool = True, silent_from: int | None = None, names: tuple[str, ...] = (BOARD, SOFTWARE)) -> list:
        made: list[Board] = []

        def create(name: str, mode: str) -> Any:
            if name != BOARD:
                return REAL.CodecContext.create(name, mode)
            made.append(Board(opens, silent_from))
            return made[-1]

        context = SimpleNamespace(create=create)
        fake = SimpleNamespace(
            codecs_available=set(names), CodecContext=context, VideoFrame=REAL.VideoFrame, error=REAL.error
        )
        monkeypatch.setattr(h264, "require_av", lambda: fake)
        return made

    return give


def canvas(number: int) -> np.ndarray:
    grey = np.repeat(np.linspace(0, 200, WIDTH, dtype=np.uint8)[None, :, None], HEIGHT, axis=0).repeat(3, axis=2)
    grey[8:24, 4 * number : 4 * number + 16] = 255
    return grey


def decoded(payloads: list[bytes], monkeypatch) -> None:
    """Check that a server shows each of them."""
    monkeypatch.setattr(h264, "require_av", require_av)
    decoder = H264Decoder()
    for number, payload in enumerate(payloads):
        assert np.abs(decoder.decode(payload, WIDTH, HEIGHT).astype(int) - canvas(number)).mean() < 6


def test_a_board_s_encoder_comes_before_x264():
    assert list(ENCODERS) == [BOARD, SOFTWARE]
    assert offered(SimpleNamespace(codecs_available={SOFTWARE, "vp8", BOARD})) == [BOARD, SOFTWARE]
    assert offered(SimpleNamespace(codecs_available={"vp8"})) == []


def test_a_board_s_encoder_is_asked_for_one_quality_and_no_keyframes(board, monkeypatch):
    made = board()
    encoder = H264Encoder()
    payloads = [encoder.encode(canvas(number), QUALITY) for number in range(3)]
    assert encoder.name == BOARD
    (one,) = made
    assert one.options == {"qmin": "24", "qmax": "24"}
    assert (one.width, one.height, one.pix_fmt, one.max_b_frames) == (WIDTH, HEIGHT, "yuv420p", 0)
    assert one.gop_size > 0xFFFF
    decoded(payloads, monkeypatch)


def test_without_the_device_x264_does_it(board, monkeypatch):
    made = board(opens=False)
    encoder = H264Encoder()
    payloads = [encoder.encode(canvas(number), QUALITY) for number in range(3)]
    assert (encoder.name, len(made)) == (SOFTWARE, 1)  # and it is not tried again
    decoded(payloads, monkeypatch)


@pytest.mark.parametrize("pictures", [0, 2])
def test_an_encoder_that_holds_pictures_back_gives_way_to_x264_in_a_new_stream(board, monkeypatch, pictures):
    board(silent_from=pictures)
    encoder = H264Encoder()
    payloads = [encoder.encode(canvas(number), QUALITY) for number in range(4)]
    assert encoder.name == SOFTWARE
    numbers = [unpack(payload)[0].number for payload in payloads]
    assert numbers == [*range(pictures), *range(4 - pictures)]
    assert len({unpack(payload)[0].stream for payload in payloads}) == (2 if pictures else 1)
    decoded(payloads, monkeypatch)


def test_a_build_without_any_says_so(board):
    board(names=("vp8",))
    with pytest.raises(ConfigError, match=r"no H\.264 encoder"):
        H264Encoder().encode(canvas(0), QUALITY)
