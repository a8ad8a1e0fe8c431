"""No frame takes more than its cap, whatever it shows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splitnet.codec.bitstream import HEADER_BYTES
from splitnet.codec.byte_cap import CAP_FACTOR, byte_caps, halved
from splitnet.codec.contexts import NEIGHBOURHOODS
from splitnet.codec.entropy_model import EntropyModel
from splitnet.codec.feature_codec import FeatureCodec
from splitnet.errors import ConfigError
from splitnet.operating_point import Codec

WIDTHS, QUALITIES, CHANNELS, SIDE = 2, 3, 4, 13
SHAPE = (CHANNELS, SIDE, SIDE)


def model() -> EntropyModel:
    """Return tables whose symbols spread more with every quality, around 0, 1, 2 and 3."""
    symbols = np.arange(-20, 21)[None] - np.arange(CHANNELS)[:, None]
    rows = [np.round(2000 * np.exp(-np.abs(symbols) / (0.4 + quality))) for quality in range(QUALITIES)]
    counts = np.array(rows, np.int64)[None]
    return EntropyModel.fit(np.broadcast_to(counts, (WIDTHS, QUALITIES, CHANNELS, 41)).copy())


def in_contexts() -> EntropyModel:
    """Return the same tables, and in loud neighbourhoods those of larger symbols."""
    alone = model()
    flat = np.ones((CHANNELS, NEIGHBOURHOODS, 41), np.int64) * np.arange(NEIGHBOURHOODS)[:, None] * 20
    return alone.with_contexts(np.broadcast_to(flat, (WIDTHS, QUALITIES, *flat.shape)))


CODEC = FeatureCodec(model(), b"a bundle", SHAPE)
CONTEXT_CODEC = FeatureCodec(in_contexts(), b"a bundle", SHAPE)


def at_quality(latent: np.ndarray, quality: int) -> np.ndarray:
    """Return a latent's symbols at gains that double from quality to quality."""
    return np.clip(latent * 2**quality, -2047, 2047).astype(np.int16)


def capped(latent: np.ndarray, quality: int, codec: Codec = Codec.RANS) -> tuple[bytes, int]:
    return CODEC.compress_capped(
        at_quality(latent, quality), 1, quality, lambda coarser: at_quality(latent, coarser), codec
    )[:2]


def test_a_cap_is_twice_what_the_tables_expect_of_the_largest_latent():
    found = model()
    expected_bits = []
    for quality in range(QUALITIES):
        tables = found.table_index[0, quality, :, 0]
        rows = [np.diff(found.quantized_cdf[found.cdf_start[t] : found.cdf_start[t + 1]].astype(int)) for t in tables]
        expected_bits.append(sum(-(row / row.sum() * np.log2(row / row.sum())).sum() for row in rows) * SIDE**2)
    wanted = HEADER_BYTES + np.ceil(CAP_FACTOR * np.array(expected_bits) / 8)
    assert byte_caps(found, [SIDE**2] * WIDTHS).tolist() == [wanted.tolist()] * WIDTHS
    assert [CODEC.byte_cap(1, quality) for quality in range(QUALITIES)] == wanted.tolist()


def test_a_width_whose_latents_are_smaller_has_a_smaller_cap():
    small, large = byte_caps(model(), [25, 100]) - HEADER_BYTES
    np.testing.assert_allclose(small, large / 4, atol=1)
    codec = FeatureCodec(model(), b"a bundle", SHAPE, [25, SIDE**2])
    assert codec.byte_cap(1, 1) == byte_caps(model(), [25, 25])[0, 1]
    assert codec.byte_cap(2, 1) == CODEC.byte_cap(2, 1)


def test_caps_rise_with_the_quality():
    caps = [CODEC.byte_cap(2, quality) for quality in range(QUALITIES)]
    assert caps == sorted(set(caps))


def test_symbols_are_drawn_towards_their_centre_from_both_sides():
    symbols = np.array([-7, -1, 1, 2, 9], np.int16).reshape(1, 1, 5)
    centre = np.array([1], np.int16)
    assert halved(symbols, centre, 1).ravel().tolist() == [-3, 0, 1, 1, 5]
    assert halved(symbols, centre, 4).ravel().tolist() == [1, 1, 1, 1, 1]
    assert halved(symbols, centre, 1).dtype == np.int16


def test_the_widest_symbols_are_drawn_in_without_overflow():
    symbols = np.array([-32768, 32767], np.int16).reshape(1, 1, 2)
    assert halved(symbols, np.array([-2], np.int16), 16).ravel().tolist() == [-2, -2]


def test_a_usual_latent_is_sent_as_it_is():
    latent = np.broadcast_to(np.arange(CHANNELS)[:, None, None], SHAPE) / 4
    payload, quality = capped(latent, 2)
    assert quality == 2
    assert payload == CODEC.compress(at_quality(latent, 2), 1, 2)


def test_a_burst_comes_down_in_quality_until_it_fits():
    rng = np.random.default_rng(0)
    latent = rng.laplace(0, 2.2, SHAPE)
    payload, quality = capped(latent, 2)
    assert len(CODEC.compress(at_quality(latent, 2), 1, 2)) > CODEC.byte_cap(1, 2) >= len(payload)
    assert quality < 2
    header, symbols = CODEC.decompress(payload)
    assert (header.width, header.quality) == (1, quality)
    assert (symbols == at_quality(latent, quality)).all()  # coarser, and otherwise whole


@pytest.mark.parametrize("codec", [Codec.RANS, Codec.ZSTD])
@pytest.mark.parametrize("quality", range(QUALITIES))
def test_what_is_too_large_at_every_quality_still_keeps_to_the_cap(quality, codec):
    latent = np.random.default_rng(1).integers(-2047, 2048, SHAPE).astype(float)
    payload, sent = capped(latent, quality, codec)
    assert sent == 0
    assert len(payload) <= CODEC.byte_cap(1, quality)
    header, symbols = CODEC.decompress(payload)
    assert header.quality == 0
    assert np.abs(symbols).max() < 2047


@settings(max_examples=60)
@given(
    hnp.arrays(np.int16, SHAPE, elements=st.integers(-2047, 2047)),
    st.integers(0, QUALITIES - 1),
    st.sampled_from([CODEC, CONTEXT_CODEC]),
)
def test_no_latent_exceeds_its_cap(symbols, quality, codec):
    payload, sent, held = codec.compress_capped(symbols, 1, quality, lambda coarser: symbols >> (quality - coarser))
    assert (codec.decompress(payload)[1] == held).all()
    assert len(payload) <= codec.byte_cap(1, quality)
    assert 0 <= sent <= quality
    assert codec.decompress(payload)[0].quality == sent


def test_contexts_leave_the_caps_as_they_are():
    for quality in range(QUALITIES):
        assert CONTEXT_CODEC.byte_cap(1, quality) == CODEC.byte_cap(1, quality)


def test_a_latent_of_another_shape_is_refused_as_ever():
    with pytest.raises(ConfigError, match="outside of this bundle"):
        capped(np.zeros((CHANNELS, SIDE + 1, SIDE)), 0)
