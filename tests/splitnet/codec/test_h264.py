"""H.264 streams: what comes back, what is refused, and that nothing foreign gets past the door."""

from __future__ import annotations

import random
import sys
from fractions import Fraction

import numpy as np
import pytest

from splitnet.codec.h264 import H264Decoder, H264Encoder, has_h264, require_av
from splitnet.codec.h264_payload import HEADER_BYTES, MAX_UNITS, StreamPlace, pack, unpack
from splitnet.errors import BitstreamError, ConfigError, StreamGapError
from splitnet.operating_point import OperatingPoint, parse_point

WIDTH, HEIGHT = 96, 64
QUALITY = 30


def canvases(count: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> list[np.ndarray]:
    """Return a grey gradient in which a white square moves."""
    width, height = size
    made = []
    for number in range(count):
        canvas = np.repeat(np.linspace(0, 200, width, dtype=np.uint8)[None, :, None], height, axis=0).repeat(3, axis=2)
        canvas[8:24, 4 * number : 4 * number + 16] = 255
        made.append(canvas)
    return made


def payloads(count: int, **kept: object) -> list[bytes]:
    encoder = H264Encoder()
    return [encoder.encode(canvas, QUALITY) for canvas in canvases(count, **kept)]


def decoded(decoder: H264Decoder, payload: bytes) -> np.ndarray:
    return decoder.decode(payload, WIDTH, HEIGHT)


def test_a_stream_comes_back_picture_by_picture_and_only_the_first_is_large():
    decoder, sent = H264Decoder(), payloads(5)
    for canvas, payload in zip(canvases(5), sent, strict=True):
        assert np.abs(decoded(decoder, payload).astype(int) - canvas).mean() < 4
    assert max(map(len, sent[1:])) < len(sent[0]) / 2
    assert 0 < decoder.nbytes < 20 * WIDTH * HEIGHT * 2


def test_a_picture_without_the_one_before_is_refused_until_a_keyframe_comes():
    encoder, decoder = H264Encoder(), H264Decoder()
    first, _, third, fourth = (encoder.encode(canvas, QUALITY) for canvas in canvases(4))
    decoded(decoder, first)
    for late in (third, fourth):
        with pytest.raises(StreamGapError, match="send a keyframe"):
            decoded(decoder, late)
    decoded(decoder, encoder.encode(canvases(1)[0], QUALITY, anew=True))
    decoded(decoder, encoder.encode(canvases(2)[1], QUALITY))


def test_pictures_of_another_stream_are_refused():
    encoder, decoder = H264Encoder(), H264Decoder()
    old = [encoder.encode(canvas, QUALITY) for canvas in canvases(2)]
    decoded(decoder, encoder.encode(canvases(1)[0], QUALITY, anew=True))
    with pytest.raises(StreamGapError):
        decoded(decoder, old[1])


def test_what_never_began_cannot_go_on():
    with pytest.raises(StreamGapError):
        decoded(H264Decoder(), payloads(2)[1])


def test_another_size_or_quality_begins_a_new_stream():
    encoder = H264Encoder()
    places = [unpack(encoder.encode(canvas, quality))[0] for canvas, quality in (
        (canvases(1)[0], 20), (canvases(1)[0], 20), (canvases(1)[0], 21), (canvases(1, (64, 64))[0], 21),
    )]  # fmt: skip
    assert places == [StreamPlace(1, 0), StreamPlace(1, 1), StreamPlace(2, 0), StreamPlace(3, 0)]


def test_a_picture_beyond_the_size_is_refused_before_it_is_decoded():
    for size in ((WIDTH + 16, HEIGHT), (4096, 2304)):
        with pytest.raises(BitstreamError):
            decoded(H264Decoder(), payloads(1, size=size)[0])


def test_a_payload_holds_one_picture():
    first, second = (unpack(payload)[1] for payload in payloads(2))
    with pytest.raises(BitstreamError, match="one picture"):
        unpack(pack(StreamPlace(1, 0), first + second))
    with pytest.raises(BitstreamError, match="one picture"):
        unpack(pack(StreamPlace(1, 1), second * 1000))
    with pytest.raises(BitstreamError, match="one picture"):
        unpack(pack(StreamPlace(1, 1), b"\x00\x00\x01\x06\x00" * (MAX_UNITS + 1) + second))


def test_a_stream_begins_with_a_keyframe_and_its_parameter_sets():
    with pytest.raises(BitstreamError, match="keyframe"):
        unpack(pack(StreamPlace(1, 0), unpack(payloads(2)[1])[1]))


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not a picture"),
        (b"SH\x01", "not a picture"),
        (b"SH\x02\x00\x00\x00", "version 2"),
        (b"SH\x01\x00\x00\x00", "one picture"),
        (b"SH\x01\x00\x01\x00\x00\x00\x01", "truncated"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(payload, reason):
    with pytest.raises(BitstreamError, match=reason):
        unpack(payload)


def test_every_truncation_is_refused_or_decoded_within_bounds():
    first, second = payloads(2)
    for payload, before in ((first, []), (second, [first])):
        for length in range(0, len(payload), 3):
            survives(payload[:length], before)


def test_flipped_bytes_are_refused_or_decoded_within_bounds():
    first, second = payloads(2)
    draw = random.Random(0)
    for payload, before in ((first, []), (second, [first])):
        for place in range(0, len(payload), 5):
            survives(payload[:place] + bytes([payload[place] ^ draw.randint(1, 255)]) + payload[place + 1 :], before)


def survives(payload: bytes, before: list[bytes]) -> None:
    decoder = H264Decoder()
    for one in before:
        decoded(decoder, one)
    try:
        canvas = decoded(decoder, payload)
    except BitstreamError:
        return
    assert canvas.shape[0] <= HEIGHT and canvas.shape[1] <= WIDTH


def test_colour_at_full_resolution_is_no_canvas():
    av = require_av()
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv444p"
    context.time_base, context.options = Fraction(1, 10), {"tune": "zerolatency"}
    frame = av.VideoFrame.from_ndarray(canvases(1)[0], format="bgr24").reformat(format="yuv444p")
    unit = b"".join(map(bytes, context.encode(frame)))
    with pytest.raises(BitstreamError, match="4:2:0"):
        decoded(H264Decoder(), pack(StreamPlace(1, 0), unit))


def test_without_pyav_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert not has_h264()
    with pytest.raises(ConfigError, match=r"slimsplit\[video\]"):
        H264Encoder()


def test_points_of_h264_are_written_like_others_and_have_51_qualities():
    assert str(parse_point("h264 19")) == "h264 19"
    with pytest.raises(ConfigError, match=r"0\.\.51"):
        parse_point("h264 52")
    assert isinstance(parse_point("h264 51"), OperatingPoint)


def test_the_header_is_six_bytes():
    assert HEADER_BYTES == 6
    assert pack(StreamPlace(7, 258), b"x") == b"SH\x01\x07\x02\x01x"
