"""Frames that later ones build on: kept, found, made to fit, and coded against through the whole codec."""

from __future__ import annotations

import numpy as np
import pytest

from splitnet.codec.change_codec import ChangeCodec
from splitnet.codec.change_contexts import CHANGE_CONTEXTS, FLAG_CONTEXTS
from splitnet.codec.change_model import ChangeModel
from splitnet.codec.changes_header import HEADER_BYTES, MAGIC
from splitnet.codec.entropy_model import EntropyModel
from splitnet.codec.feature_codec import FeatureCodec
from splitnet.codec.references import RATIO_BITS, Reference, ReferenceStore, fitted
from splitnet.errors import BitstreamError, BundleError, MissingReferenceError
from splitnet.operating_point import Codec

DIGEST = bytes(range(8))
WIDTHS, QUALITIES, CHANNELS = 2, 3, 4
ONE = 1 << RATIO_BITS
GAINS = np.repeat(np.float32([[[1.0], [2.0], [3.0]]]), CHANNELS, axis=2).repeat(WIDTHS, axis=0)


def change_model(qualities: int = QUALITIES) -> ChangeModel:
    flags = np.ones((qualities, FLAG_CONTEXTS, 2), np.int64)
    changes = np.ones((qualities, CHANNELS, CHANGE_CONTEXTS, 5), np.int64)
    return ChangeModel.fit(flags, changes)


def codec() -> FeatureCodec:
    base = EntropyModel.fit(np.ones((WIDTHS, QUALITIES, CHANNELS, 9), np.int64))
    changes = ChangeCodec(change_model(), base, GAINS, DIGEST)
    return FeatureCodec(base, DIGEST, (CHANNELS, 6, 6), changes=changes)


CODEC = codec()


def latent(seed: int, spread: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(-spread, spread + 1, (CHANNELS, 3, 5)).astype(np.int16)


def reference(frame_id: int = 1, quality: int = 1, symbols: np.ndarray | None = None, width: int = 1) -> Reference:
    held = latent(frame_id) if symbols is None else symbols
    return Reference(frame_id, width, quality, held, np.zeros(held.shape[1:], np.uint8))


def stored(*references: Reference) -> ReferenceStore:
    store = ReferenceStore()
    for one in references:
        store.put(one)
    return store


def test_the_newest_few_are_kept_and_found_by_id():
    store = stored(*(reference(frame_id) for frame_id in (70_001, 3, 4, 5, 2)))
    assert store.named(2) == []  # the oldest of five
    assert [one.frame_id for one in store.named(70_001 & 0xFFFF)] == [70_001]
    assert store.nbytes == 4 * reference().nbytes
    store.clear()
    assert store.named(5) == []


@pytest.mark.parametrize(
    "other",
    [
        Reference(1, 2, 1, latent(1), np.zeros((3, 5), np.uint8)),
        Reference(1, 1, 2, latent(1), np.zeros((3, 5), np.uint8)),
        Reference(1, 1, 1, latent(2), np.zeros((3, 5), np.uint8)),
        Reference(1, 1, 1, latent(1), np.ones((3, 5), np.uint8)),
        Reference(1, 1, 1, latent(1).reshape(CHANNELS, 5, 3), np.zeros((5, 3), np.uint8)),
    ],
)
def test_the_check_covers_all_that_decoding_depends_on(other):
    assert other.check != reference(1).check


def test_another_quality_scales_by_rounded_fixed_point():
    held = reference(symbols=np.int16([[[3, -3, 1]]]))
    assert fitted(held, np.array([ONE * 3 // 2]), (0, 0)).symbols.tolist() == [[[5, -4, 2]]]
    assert fitted(held, np.array([ONE << 15]), (0, 0)).symbols.tolist() == [[[32767, -32768, 32767]]]
    assert fitted(held, np.array([ONE]), (0, 0)).symbols is held.symbols


def test_a_shift_moves_down_and_right_and_repeats_the_border():
    held = reference(symbols=np.arange(6, dtype=np.int16).reshape(1, 2, 3))
    assert fitted(held, np.array([ONE]), (1, 0)).symbols.tolist() == [[[0, 1, 2], [0, 1, 2]]]
    assert fitted(held, np.array([ONE]), (0, -1)).symbols.tolist() == [[[1, 2, 2], [4, 5, 5]]]
    assert fitted(held, np.array([ONE]), (-128, 127)).symbols.tolist() == [[[3, 3, 3], [3, 3, 3]]]


@pytest.mark.parametrize("quality", range(QUALITIES))
@pytest.mark.parametrize("shift", [(0, 0), (1, -2)])
def test_a_frame_comes_back_through_a_reference_of_any_quality(quality, shift):
    base, symbols = reference(9, quality=1), latent(33)
    bitstream = CODEC.changes.compress(symbols, 1, quality, base, shift)
    decoded = CODEC.decode(bitstream, stored(base))
    assert (decoded.symbols == symbols).all()
    assert (decoded.width, decoded.quality, decoded.builds_on) == (1, quality, 9)
    assert (decoded.changed == (symbols != CODEC.changes.fitted(base, quality, shift).symbols).any(axis=0)).all()
    kept = decoded.as_reference(10)
    assert (kept.frame_id, kept.width, kept.quality) == (10, 1, quality)


def test_a_chain_of_frames_does_not_drift():
    here, there = stored(), stored()
    first = latent(0)
    last = CODEC.decode(CODEC.compress(first, 1, 1)).as_reference(1)
    here.put(last), there.put(last)
    for frame_id in range(2, 40):
        symbols = last.symbols + (np.random.default_rng(frame_id).random(first.shape) < 0.1).astype(np.int16)
        decoded = CODEC.decode(CODEC.changes.compress(symbols, 1, frame_id % QUALITIES, last), there)
        assert (decoded.symbols == symbols).all()
        last = decoded.as_reference(frame_id)
        there.put(last)


def test_a_reference_that_is_not_there_is_told_apart_from_damage():
    base = reference(9)
    bitstream = CODEC.changes.compress(latent(1), 1, 1, base)
    for store in (None, stored(), stored(reference(9, symbols=latent(5)))):
        with pytest.raises(MissingReferenceError, match="frame 9"):
            CODEC.decode(bitstream, store)
    with pytest.raises(BitstreamError):
        CODEC.decompress(bitstream)  # takes what stands alone only


def test_a_reference_of_another_width_is_refused():
    wide = reference(9, width=2)
    bitstream = bytearray(CODEC.changes.compress(latent(1), 2, 1, wide))
    bitstream[3] = 1  # the width
    with pytest.raises(BitstreamError, match="of width 1, its reference is not"):
        CODEC.decode(bytes(bitstream), stored(wide))


def test_every_truncation_and_flipped_byte_of_a_whole_bitstream_is_refused_or_bounded():
    base, symbols = reference(9), latent(9)
    symbols[1, 2, 3] += 1
    bitstream = CODEC.changes.compress(symbols, 1, 1, base)
    store = stored(base)
    for length in range(len(bitstream)):
        with pytest.raises(BitstreamError):
            CODEC.decode(bitstream[:length], store)
    for place in range(len(bitstream)):
        for bit in range(8):
            changed = bytearray(bitstream)
            changed[place] ^= 1 << bit
            try:
                decoded = CODEC.decode(bytes(changed), store)
            except BitstreamError:
                continue
            assert decoded.symbols.shape == symbols.shape


def test_changes_without_tables_are_refused():
    bitstream = CODEC.changes.compress(latent(1), 1, 1, reference(9))
    plain = FeatureCodec(CODEC.model, DIGEST, (CHANNELS, 6, 6))
    with pytest.raises(BitstreamError, match="no tables for changes"):
        plain.decode(bitstream, stored(reference(9)))


def test_a_reference_of_another_bundle_is_another_one():
    other = FeatureCodec(
        CODEC.model, DIGEST, (CHANNELS, 6, 6), changes=ChangeCodec(change_model(), CODEC.model, GAINS, bytes(8))
    )
    bitstream = other.changes.compress(latent(1), 1, 1, reference(9))
    with pytest.raises(MissingReferenceError):
        CODEC.decode(bitstream, stored(reference(9)))


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (2, b"\x02", "version 2 are unknown"),
        (3, b"\x00", "no width 0"),
        (3, b"\x03", "no width 3"),
        (4, b"\x03", "quality 3"),
        (5, b"\x00\x00", "names no frame"),
    ],
)
def test_each_bad_field_is_named(position, value, message):
    bitstream = bytearray(CODEC.changes.compress(latent(1), 1, 1, reference(9)))
    bitstream[position : position + len(value)] = value
    with pytest.raises(BitstreamError, match=message):
        CODEC.decode(bytes(bitstream), stored(reference(9)))


def test_tables_of_another_bundle_are_refused():
    with pytest.raises(BundleError, match="other qualities or channels"):
        ChangeCodec(change_model(qualities=2), CODEC.model, GAINS, DIGEST)


def test_a_still_scene_takes_a_few_bytes_beside_a_short_header():
    base = reference(9)
    bitstream = CODEC.changes.compress(base.symbols, 1, 1, base)
    assert bitstream.startswith(MAGIC)
    assert len(bitstream) <= HEADER_BYTES + 6
    assert HEADER_BYTES == 13


def test_a_whole_frame_has_not_changed():
    decoded = CODEC.decode(CODEC.compress(latent(1), 1, 1, Codec.ZSTD))
    assert decoded.changed.sum() == 0
    assert decoded.builds_on is None
