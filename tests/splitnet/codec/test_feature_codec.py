import struct
import threading

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splitnet.codec import rans_reference
from splitnet.codec.bitstream import HEADER_BYTES, Header, pack
from splitnet.codec.feature_codec import FeatureCodec
from splitnet.codec.zstd_symbols import compress_zstd, decompress_zstd
from splitnet.errors import BitstreamError, ConfigError
from splitnet.operating_point import Codec
from tests.support.golden_bitstreams import (
    DIGEST,
    NAMES,
    QUALITY,
    SHAPE,
    WIDTH,
    golden_bitstream,
    golden_codec,
    golden_codec_of,
    golden_context_codec,
    golden_context_model,
    golden_model,
    golden_symbols,
)

CODEC = golden_codec()
CONTEXT_CODEC = golden_context_codec()
LATENTS = hnp.arrays(
    np.int16,
    st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 7)),
    elements=st.one_of(st.integers(-5, 5), st.integers(-32768, 32767)),
)


@settings(max_examples=200)
@given(
    LATENTS,
    st.integers(1, 2),
    st.integers(0, 1),
    st.sampled_from([Codec.RANS, Codec.ZSTD]),
    st.sampled_from([CODEC, CONTEXT_CODEC]),
)
def test_any_latent_round_trips(symbols, width, quality, codec, feature_codec):
    header, decoded = feature_codec.decompress(feature_codec.compress(symbols, width, quality, codec))
    assert (header.codec, header.width, header.quality) == (codec, width, quality)
    assert decoded.dtype == np.int16
    assert decoded.tolist() == symbols.tolist()


def test_a_latent_that_is_not_contiguous_round_trips():
    symbols = golden_symbols().transpose(0, 2, 1)[:, ::2, ::-1]
    for codec in (Codec.RANS, Codec.ZSTD):
        assert (CODEC.decompress(CODEC.compress(symbols, 1, 0, codec))[1] == symbols).all()


@pytest.mark.parametrize("name", NAMES)
def test_golden_bitstreams_still_decode(name):
    header, symbols = golden_codec_of(name).decompress(golden_bitstream(name))
    assert (header.codec is Codec.ZSTD) == (name == "zstd")
    assert symbols.tolist() == golden_symbols().tolist()


def test_encoding_still_gives_the_golden_bytes():
    # Not asserted for zstd: another version of the library may find other, equally valid, bytes.
    assert CODEC.compress(golden_symbols(), WIDTH, QUALITY) == golden_bitstream("rans")
    assert CONTEXT_CODEC.compress(golden_symbols(), WIDTH, QUALITY) == golden_bitstream("rans_context")


def test_the_definition_in_plain_python_gives_the_golden_bytes_too():
    for name, model in (("rans", golden_model()), ("rans_context", golden_context_model())):
        payload = rans_reference.encode(golden_symbols(), model.choice(WIDTH, QUALITY, SHAPE[0]), model)
        assert payload == golden_bitstream(name)[HEADER_BYTES:]


def test_a_bundle_without_contexts_refuses_a_bitstream_with_and_the_reverse():
    with pytest.raises(BitstreamError, match="has context model 0, not 1"):
        CODEC.decompress(golden_bitstream("rans_context"))
    with pytest.raises(BitstreamError, match="has context model 1, not 0"):
        CONTEXT_CODEC.decompress(golden_bitstream("rans"))


@pytest.mark.parametrize("name", NAMES)
def test_every_truncation_is_refused(name):
    bitstream = golden_bitstream(name)
    for length in range(len(bitstream)):
        with pytest.raises(BitstreamError):
            golden_codec_of(name).decompress(bitstream[:length])


@pytest.mark.parametrize("name", NAMES)
def test_every_truncated_payload_with_an_honest_length_is_refused(name):
    payload = golden_bitstream(name)[HEADER_BYTES:]
    for length in range(len(payload)):
        with pytest.raises(BitstreamError):
            golden_codec_of(name).decompress(with_payload(name, payload[:length]))


@pytest.mark.parametrize("name", NAMES)
def test_every_changed_byte_is_refused_or_decodes_within_bounds(name):
    bitstream = golden_bitstream(name)
    survivors = 0
    for position in range(len(bitstream)):
        damaged = bytearray(bitstream)
        for value in set(range(256)) - {bitstream[position]}:
            damaged[position] = value
            survivors += decodes_within_bounds(bytes(damaged), golden_codec_of(name))
    # Only plain bits (of escapes, or of a flat table) can change without upsetting the coder's final state.
    assert survivors < 0.05 * 255 * len(bitstream)


def decodes_within_bounds(bitstream: bytes, codec: FeatureCodec) -> bool:
    try:
        header, symbols = codec.decompress(bitstream)
    except BitstreamError:
        return False
    assert symbols.shape == header.shape
    assert all(size <= bound for size, bound in zip(symbols.shape, SHAPE, strict=True))
    return True


@settings(max_examples=500)
@given(st.sampled_from(NAMES), st.binary(max_size=200))
def test_random_payloads_are_refused_or_decode_within_bounds(name, payload):
    decodes_within_bounds(with_payload(name, payload), golden_codec_of(name))


def with_payload(name: str, payload: bytes) -> bytes:
    codec = Codec.ZSTD if name == "zstd" else Codec.RANS
    context_model = golden_codec_of(name).limits.context_model
    return pack(Header(codec, DIGEST, WIDTH, QUALITY, *SHAPE, len(payload), context_model)) + payload


def test_a_zstd_frame_that_claims_gigabytes_is_refused_before_it_is_unpacked():
    frame = zstandard.ZstdCompressor().compress(bytes(280))
    claim = b"\xe0" + struct.pack("<Q", 1 << 40)  # single segment, eight bytes of content size
    bomb = frame[:4] + claim + frame[7:]
    assert zstandard.get_frame_parameters(bomb).content_size == 1 << 40
    with pytest.raises(BitstreamError, match="1099511627776 bytes"):
        decompress_zstd(bomb, SHAPE)


def test_a_zstd_frame_that_hides_its_size_is_refused():
    frame = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(280))
    with pytest.raises(BitstreamError, match="needs 280"):
        decompress_zstd(frame, SHAPE)


def test_two_zstd_frames_are_refused():
    frame = compress_zstd(golden_symbols())
    with pytest.raises(BitstreamError, match="not a whole"):
        decompress_zstd(frame + frame, SHAPE)


def test_a_foreign_bundle_is_named():
    other = FeatureCodec(golden_model(), b"\xee" * 8, SHAPE)
    with pytest.raises(BitstreamError, match=f"{DIGEST.hex()}.*{'ee' * 8}"):
        other.decompress(golden_bitstream("rans"))


@pytest.mark.parametrize("shape", [(5, 5, 7), (4, 6, 7), (4, 5, 8), (0, 5, 7), (4, 5, 0)])
def test_a_latent_beyond_the_bundle_is_not_compressed(shape):
    with pytest.raises(ConfigError, match="outside of this bundle"):
        CODEC.compress(np.zeros(shape, np.int16), 1, 0)


def test_an_operating_point_beyond_the_bundle_is_not_compressed():
    with pytest.raises(ConfigError, match="width 3"):
        CODEC.compress(golden_symbols(), 3, 0)
    with pytest.raises(ConfigError, match="choose rans or zstd"):
        CODEC.compress(golden_symbols(), 1, 0, Codec.JPEG)


def test_a_codec_must_fit_its_tables():
    with pytest.raises(ConfigError, match="for 4 channels"):
        FeatureCodec(golden_model(), DIGEST, (5, 5, 7))
    with pytest.raises(ValueError, match="8 bytes"):
        FeatureCodec(golden_model(), b"short", SHAPE)


def test_threads_share_a_codec():
    CODEC.warm_up()
    bitstreams = [golden_bitstream("rans"), golden_bitstream("zstd")]
    results: list[bool] = []

    def work(bitstream: bytes) -> None:
        expected = golden_symbols()
        results.extend((CODEC.decompress(bitstream)[1] == expected).all() for _ in range(200))

    threads = [threading.Thread(target=work, args=(bitstreams[i % 2],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 800 and all(results)
