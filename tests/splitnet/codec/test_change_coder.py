"""Frames coded as changes: the compiled coder against its definition, and what bad bytes come to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splitnet.codec import change_coder_plain
from splitnet.codec.change_arrays import changes_at_once
from splitnet.codec.change_coder import ChangeTables, decode_changes, encode_changes
from splitnet.codec.change_contexts import CHANGE_CONTEXTS, FLAG_CONTEXTS, change_context, flag_context
from splitnet.codec.change_model import ChangeModel
from splitnet.codec.plain_push import push_symbols
from splitnet.codec.references import Reference
from splitnet.errors import BitstreamError, BundleError

CHANNELS, QUALITY = 3, 1


def counted() -> ChangeModel:
    """Return tables of 2 qualities and 3 channels, made from drawn counts."""
    draw = np.random.default_rng(0)
    flags = draw.integers(0, 50, (2, FLAG_CONTEXTS, 2))
    changes = draw.integers(0, 30, (2, CHANNELS, CHANGE_CONTEXTS, 7))
    changes[..., 3] += 200
    return ChangeModel.fit(flags, changes)


MODEL = counted()
TABLES = ChangeTables.build(MODEL)
ROWS = TABLES.rows(QUALITY, CHANNELS)
CENTRE = np.array([0, 2, -1], np.int16)
SHAPES = st.tuples(st.just(CHANNELS), st.integers(1, 5), st.integers(1, 5))


@st.composite
def frames(draw) -> tuple[np.ndarray, Reference]:
    """Draw symbols and a reference of one shape, alike at most places."""
    shape = draw(SHAPES)
    old = draw(hnp.arrays(np.int16, shape, elements=st.integers(-4, 4) | st.integers(-(1 << 15), (1 << 15) - 1)))
    change = draw(hnp.arrays(np.int16, shape, elements=st.sampled_from([0, 0, 0, 0, 1, -1, 5, 32767, -32768])))
    before = draw(hnp.arrays(np.uint8, shape[1:], elements=st.integers(0, 1)))
    return old + change, Reference(7, 1, QUALITY, old, before)


@given(frames())
def test_compiled_and_plain_coder_agree_and_round_trip(drawn):
    symbols, reference = drawn
    payload = encode_changes(symbols, reference, CENTRE, QUALITY, TABLES)
    assert payload == change_coder_plain.encode_changes(symbols, reference, CENTRE, QUALITY, MODEL)
    assert payload == push_symbols(*changes_at_once(symbols, reference, CENTRE, *ROWS), TABLES.tables)
    assert (decode_changes(payload, reference, CENTRE, QUALITY, TABLES) == symbols).all()
    assert (change_coder_plain.decode_changes(payload, reference, CENTRE, QUALITY, MODEL) == symbols).all()


@given(frames(), st.binary(max_size=30))
def test_compiled_and_plain_decoder_judge_random_bytes_alike(drawn, payload):
    _, reference = drawn
    judged = []
    for decode, tables in ((decode_changes, TABLES), (change_coder_plain.decode_changes, MODEL)):
        try:
            judged.append(decode(payload, reference, CENTRE, QUALITY, tables).tobytes())
        except BitstreamError:
            judged.append(None)
    assert judged[0] == judged[1]


def test_every_truncation_and_every_flipped_byte_is_refused_or_decodes_within_bounds():
    draw = np.random.default_rng(1)
    old = draw.integers(-3, 4, (CHANNELS, 6, 6)).astype(np.int16)
    reference = Reference(7, 1, QUALITY, old, draw.integers(0, 2, (6, 6)).astype(np.uint8))
    symbols = old + (draw.random(old.shape) < 0.1)
    payload = encode_changes(symbols.astype(np.int16), reference, CENTRE, QUALITY, TABLES)
    for length in range(len(payload)):
        with pytest.raises(BitstreamError):
            decode_changes(payload[:length], reference, CENTRE, QUALITY, TABLES)
    refused = 0
    for place in range(len(payload)):
        for value in range(256):
            changed = bytearray(payload)
            changed[place] ^= value
            try:
                decoded = decode_changes(bytes(changed), reference, CENTRE, QUALITY, TABLES)
            except BitstreamError:
                refused += 1
            else:
                assert decoded.shape == old.shape
                assert value == 0 or (decoded != symbols).any()
    assert refused > 0.99 * 255 * len(payload)


def test_a_still_scene_costs_next_to_nothing():
    old = np.random.default_rng(2).integers(-3, 4, (CHANNELS, 15, 26)).astype(np.int16)
    still = Reference(7, 1, QUALITY, old, np.zeros((15, 26), np.uint8))
    flags = np.zeros((2, FLAG_CONTEXTS, 2), np.int64)
    flags[..., 0], flags[..., 1] = 20_000, 5
    changes = np.ones((2, CHANNELS, CHANGE_CONTEXTS, 3), np.int64)
    tables = ChangeTables.build(ChangeModel.fit(flags, changes))
    assert len(encode_changes(old, still, CENTRE, QUALITY, tables)) <= 5


def test_contexts_are_told_apart_and_stay_in_their_range():
    bits = (0, 1)
    flags = {
        flag_context(w, n, x, y, b, a)
        for w in bits
        for n in bits
        for x in bits
        for y in bits
        for b in bits
        for a in range(b, 10)
    }
    assert flags == set(range(FLAG_CONTEXTS))
    changes = {change_context(d, n, c) for d in (0, 1, 2, 90) for n in (0, 1, 2, 90) for c in (0, 1, 3, 8, 95)}
    assert changes == set(range(CHANGE_CONTEXTS))


@pytest.mark.parametrize("name", sorted(MODEL.to_arrays()))
def test_damaged_tables_are_refused(name):
    arrays = MODEL.to_arrays()
    assert ChangeModel.from_arrays(arrays).to_arrays().keys() == arrays.keys()
    with pytest.raises(BundleError, match="damaged"):
        ChangeModel.from_arrays({**arrays, name: arrays[name].astype(np.int64)})
    with pytest.raises(BundleError, match=f"lacks the change table '{name}'"):
        ChangeModel.from_arrays({key: array for key, array in arrays.items() if key != name})
    if name.endswith("index"):
        with pytest.raises(BundleError, match="contradict"):
            ChangeModel.from_arrays({**arrays, name: arrays[name] + np.uint16(60_000)})
