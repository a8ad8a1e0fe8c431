from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitnet.codec.bitstream import HEADER_BYTES, NEIGHBOURS, Header, Limits, pack, unpack
from splitnet.errors import BitstreamError
from splitnet.operating_point import Codec

DIGEST = bytes.fromhex("0123456789abcdef")
LIMITS = Limits(DIGEST, widths=4, qualities=3, channels=48, latent_height=26, latent_width=40)
HEADER = Header(Codec.RANS, DIGEST, 4, 2, 48, 26, 40, payload_bytes=5)
# Where each field lies: magic 0, version 2, codec 3, digest 4, width 12, quality 13, context model 14,
# reference frame 15, channels 17, latent height 19, latent width 21, payload bytes 23.


def overwritten(position: int, value: bytes) -> bytes:
    data = bytearray(pack(HEADER) + b"12345")
    data[position : position + len(value)] = value
    return bytes(data)


def test_the_header_is_at_most_28_bytes():
    assert len(pack(HEADER)) == HEADER_BYTES <= 28


def test_the_layout_is_fixed():
    assert pack(HEADER).hex() == "534c0101" + "0123456789abcdef" + "04020000003000" + "1a0028000500" + "0000"


@given(
    st.sampled_from([Codec.RANS, Codec.ZSTD]),
    st.integers(1, 4),
    st.integers(0, 2),
    st.integers(1, 48),
    st.integers(1, 26),
    st.integers(1, 40),
    st.binary(max_size=40),
)
def test_every_header_within_the_limits_round_trips(codec, width, quality, c, h, w, payload):
    header = Header(codec, DIGEST, width, quality, c, h, w, len(payload))
    assert unpack(pack(header) + payload, LIMITS) == header
    assert header.shape == (c, h, w)


@given(st.binary(max_size=80))
def test_random_bytes_are_refused(data):
    with pytest.raises(BitstreamError):
        unpack(data, LIMITS)


@given(st.binary(max_size=60))
def test_random_bytes_after_a_good_start_are_refused_or_within_the_limits(data):
    try:
        header = unpack(pack(HEADER)[:12] + data, LIMITS)
    except BitstreamError:
        return
    assert 1 <= header.width <= 4 and header.quality <= 2
    assert all(1 <= size <= bound for size, bound in zip(header.shape, (48, 26, 40), strict=True))
    assert header.payload_bytes == len(data) - (HEADER_BYTES - 12)


def test_a_truncated_header_is_refused():
    for length in range(HEADER_BYTES):
        with pytest.raises(BitstreamError, match="at least 27 bytes"):
            unpack(pack(HEADER)[:length], LIMITS)


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, b"\x00", "magic"),
        (2, b"\x02", "version 2 is unknown"),
        (3, b"\x00", "codec number 0"),
        (3, b"\x07", "codec number 7"),
        (12, b"\x00", "no width 0"),
        (12, b"\x05", "no width 5"),
        (13, b"\x03", "quality 3"),
        (14, b"\x01", "has context model 0, not 1"),
        (14, b"\x02", "context model 2 is unknown"),
        (15, b"\x01", "builds on no frame"),
        (17, b"\x00\x00", r"shape \(0, 26, 40\)"),
        (17, b"\xff\xff", r"shape \(65535, 26, 40\)"),
        (19, b"\x00\x00", r"shape \(48, 0, 40\)"),
        (19, b"\x1b\x00", r"shape \(48, 27, 40\)"),
        (21, b"\x00\x00", r"shape \(48, 26, 0\)"),
        (21, b"\xff\xff", r"shape \(48, 26, 65535\)"),
        (23, b"\x04", "announces 4 payload bytes, but 5 follow"),
        (23, b"\xff\xff\xff\xff", "announces 4294967295"),
    ],
)
def test_each_bad_field_is_named(position, value, message):
    with pytest.raises(BitstreamError, match=message):
        unpack(overwritten(position, value), LIMITS)


def test_a_bundle_with_contexts_takes_its_own_model_only():
    limits = replace(LIMITS, context_model=NEIGHBOURS)
    header = replace(HEADER, context_model=NEIGHBOURS)
    assert unpack(pack(header) + b"12345", limits) == header
    with pytest.raises(BitstreamError, match="has context model 1, not 0"):
        unpack(pack(HEADER) + b"12345", limits)


def test_a_foreign_digest_tells_both_bundles():
    foreign = replace(HEADER, digest=b"\xff" * 8)
    with pytest.raises(BitstreamError, match=f"{'ff' * 8}.*{DIGEST.hex()}"):
        unpack(pack(foreign) + b"12345", LIMITS)
