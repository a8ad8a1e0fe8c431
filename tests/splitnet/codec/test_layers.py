"""Frames in layers: what each layer gives, and what no stranger can do with them."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splitnet.codec import rans
from splitnet.codec.bitstream import MAX_LAYERS, Limits
from splitnet.codec.contexts import TableChoice
from splitnet.codec.entropy_model import EntropyModel
from splitnet.codec.feature_codec import FeatureCodec
from splitnet.codec.layer_coder import MAX_STEP, coarse_of, decode_fine, encode_fine
from splitnet.codec.layers import LayeredCodec, is_layered
from splitnet.codec.references import ReferenceStore
from splitnet.errors import BitstreamError, ConfigError
from tests.support.golden_bitstreams import (
    DIGEST,
    LAYERED,
    WIDTH,
    golden_bitstream,
    golden_layered_codec,
    golden_layered_symbols,
)

CHANNELS, SIDE, WIDTHS, QUALITIES = 6, 8, 2, 4
GAINS = np.ones((WIDTHS, QUALITIES, CHANNELS), np.float32) * np.array([1, 1.5, 2, 5], np.float32)[None, :, None]
GAINS[:, 3, 0] = 1.0  # a channel that no quality makes coarser
rng = np.random.default_rng(2)


def latent(quality: int = 3, side: int = SIDE) -> np.ndarray:
    return np.rint(rng.laplace(0, 0.6, (CHANNELS, side, side)) * GAINS[0, quality][:, None, None]).astype(np.int16)


def fitted_model() -> EntropyModel:
    counts = np.zeros((WIDTHS, QUALITIES, CHANNELS, 41), np.int64)
    for width in range(WIDTHS):
        for quality in range(QUALITIES):
            for symbols in (latent(quality) for _ in range(40)):
                for channel, values in enumerate(np.clip(symbols, -20, 20)):
                    np.add.at(counts[width, quality, channel], values.ravel() + 20, 1)
    return EntropyModel.fit(counts)


MODEL = fitted_model()
LIMITS = Limits(DIGEST, WIDTHS, QUALITIES, CHANNELS, SIDE, SIDE)
CODEC = LayeredCodec(MODEL, GAINS, LIMITS, rans.Tables.build(MODEL))
FEATURES = FeatureCodec(MODEL, DIGEST, (CHANNELS, SIDE, SIDE), gains=GAINS)
LATENTS = hnp.arrays(
    np.int16,
    st.tuples(st.integers(1, CHANNELS), st.integers(1, 4), st.integers(1, 5)),
    elements=st.one_of(st.integers(-5, 5), st.integers(-2047, 2047)),
)


@settings(max_examples=200, deadline=None)
@given(LATENTS, st.integers(1, WIDTHS), st.integers(0, QUALITIES - 1), st.integers(2, MAX_LAYERS))
def test_all_layers_together_hold_the_latent(symbols, width, quality, layers):
    made = CODEC.compress(symbols, width, quality, layers)
    found = CODEC.decompress(b"".join(made))
    assert (found.width, found.quality, found.used, found.layers) == (width, quality, len(made), len(made))
    assert found.symbols.tolist() == symbols.tolist()


def test_the_bytes_of_layers_stay_what_they_are():
    """Devices in the field go on sending them."""
    codec, golden = golden_layered_codec(), golden_bitstream(LAYERED)
    made = codec.compress(golden_layered_symbols(), WIDTH, 2)
    assert [len(layer) for layer in made] == [241, 73, 25]
    assert b"".join(made) == golden
    assert (codec.decompress(golden).symbols == golden_layered_symbols()).all()


def test_each_layer_brings_the_latent_closer():
    symbols = latent()
    made = CODEC.compress(symbols, 1, 3)
    assert len(made) == 3
    errors = []
    for used in (1, 2, 3):
        found = CODEC.decompress(b"".join(made[:used]))
        assert (found.used, found.layers) == (used, 3)
        errors.append(float(np.abs(found.symbols - symbols).mean()))
    assert errors[0] > errors[1] > errors[2] == 0.0
    assert errors[0] < 1.5  # steps are five wide


def test_layers_take_few_more_bytes_than_the_whole():
    frames = [latent() for _ in range(20)]
    whole = sum(len(FEATURES.compress(symbols, 1, 3)) for symbols in frames)
    parts = np.array([[len(layer) for layer in CODEC.compress(symbols, 1, 3)] for symbols in frames])
    headers = 20 * (27 + 2 * 11 - 26 + 2 * 4)  # and two more ends of the coder's state
    assert parts.sum() - headers < 1.03 * whole
    assert parts[:, 0].sum() < 0.75 * whole


def test_a_channel_that_is_never_coarse_is_exact_from_the_first_layer_on():
    symbols = latent()
    assert (CODEC.decompress(CODEC.compress(symbols, 1, 3)[0]).symbols[0] == symbols[0]).all()


def test_the_lowest_quality_has_one_layer():
    symbols = latent(0)
    (only,) = CODEC.compress(symbols, 1, 0)
    assert [CODEC.is_of_use(1, quality) for quality in range(QUALITIES)] == [False, False, False, True]
    assert CODEC.decompress(only).symbols.tolist() == symbols.tolist()


@pytest.mark.parametrize("layers", [1, MAX_LAYERS + 1])
def test_no_other_number_of_layers_is_made(layers):
    with pytest.raises(ConfigError, match="2 to 8 layers"):
        CODEC.compress(latent(), 1, 3, layers)


def test_a_latent_that_is_too_large_is_refused():
    with pytest.raises(ConfigError, match="outside"):
        CODEC.compress(latent(side=SIDE + 1), 1, 3)


def test_layers_in_another_order_or_of_another_frame_are_refused():
    first, second, third = CODEC.compress(latent(), 1, 3)
    with pytest.raises(BitstreamError, match="layer 2 does not follow layer 0"):
        CODEC.decompress(first + third)
    with pytest.raises(BitstreamError, match="layer 1 does not follow layer 1"):
        CODEC.decompress(first + second + second)
    with pytest.raises(BitstreamError, match="another frame"):
        CODEC.decompress(first + CODEC.compress(latent(), 1, 3)[1])


def test_every_truncation_is_refused_or_ends_after_a_layer():
    made = CODEC.compress(latent(side=3), 1, 3)
    whole, ends = b"".join(made), set(np.cumsum([len(layer) for layer in made]).tolist())
    for length in range(len(whole)):
        if length in ends:
            assert CODEC.decompress(whole[:length]).used < 3
        else:
            with pytest.raises(BitstreamError):
                CODEC.decompress(whole[:length])


def test_every_flipped_byte_gives_an_error_or_a_latent_of_the_same_shape():
    symbols = latent(side=3)
    whole = bytearray(b"".join(CODEC.compress(symbols, 1, 3)))
    refused = 0
    for position in range(len(whole)):
        for value in (0, 255, whole[position] ^ 1):
            damaged = whole.copy()
            damaged[position] = value
            try:
                found = CODEC.decompress(bytes(damaged))
            except BitstreamError:
                refused += 1
            else:
                assert found.symbols.dtype == np.int16 and found.symbols.shape[0] <= CHANNELS
    assert refused > 2 * len(whole)


@pytest.mark.parametrize(
    ("position", "value", "complaint"),
    [
        (2, 9, "version 9 are unknown"),
        (3, 0, "1 to 8 layers, not 0"),
        (4, 0xEE, "give both ends the same bundle"),
        (12, 0, "no width 0"),
        (13, QUALITIES, "no width 1, quality 4"),
        (14, QUALITIES, "quality 3, 4"),
        (16, CHANNELS + 1, "outside"),
    ],
)
def test_a_header_that_the_bundle_cannot_decode_is_refused(position, value, complaint):
    damaged = bytearray(CODEC.compress(latent(), 1, 3)[0])
    damaged[position] = value
    with pytest.raises(BitstreamError, match=complaint):
        CODEC.decompress(bytes(damaged))


def test_coarse_symbols_beyond_all_latents_are_refused():
    symbols = np.full((CHANNELS, 1, 1), 32_000, np.int16)
    first = CODEC.compress(latent(side=1), 1, 3)[0]
    tables = CODEC._coarse_choice(1, 3, first[15], CODEC._steps(1, 3, first[14]))
    payload = rans.encode(symbols, tables, rans.Tables.build(MODEL))
    head = first[:22] + struct.pack("<I", len(payload))
    with pytest.raises(BitstreamError, match="beyond all"):
        CODEC.decompress(head + payload)


def test_the_feature_codec_knows_layers_by_their_first_bytes():
    symbols = latent()
    made = CODEC.compress(symbols, 1, 3)
    assert is_layered(made[0]) and not is_layered(FEATURES.compress(symbols, 1, 3))
    whole, part = FEATURES.decode(b"".join(made), ReferenceStore()), FEATURES.decode(made[0])
    assert whole.symbols.tolist() == symbols.tolist()
    assert (whole.is_complete, part.is_complete) == (True, False)
    with pytest.raises(BitstreamError, match="does not take frames in layers"):
        FeatureCodec(MODEL, DIGEST, (CHANNELS, SIDE, SIDE)).decode(made[0])


@settings(max_examples=100, deadline=None)
@given(LATENTS, st.data())
def test_the_fine_part_of_any_symbols_and_steps_round_trips(symbols, data):
    odd = st.integers(0, MAX_STEP // 2).map(lambda half: 2 * half + 1)
    steps = np.array(data.draw(st.lists(odd, min_size=len(symbols), max_size=len(symbols))), np.int16)
    tables, choice = rans.Tables.build(MODEL), TableChoice.alone(np.arange(len(symbols), dtype=np.uint16))
    payload = encode_fine(symbols, steps, choice, tables)
    decoded = decode_fine(payload, coarse_of(symbols, steps), steps, choice, tables)
    assert decoded.tolist() == symbols.tolist()


def test_a_coarse_symbol_is_the_nearest_multiple():
    symbols = np.array([[[-7, -5, -4, -2, -1, 0, 1, 2, 4, 5, 7]]], np.int16)
    assert coarse_of(symbols, np.array([3], np.int16)).tolist() == [[[-2, -2, -1, -1, 0, 0, 0, 1, 1, 2, 2]]]
    assert coarse_of(symbols, np.array([1], np.int16)).tolist() == symbols.tolist()
