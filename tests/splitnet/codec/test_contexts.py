"""The neighbours of a symbol name its context, alike at both ends and at every border."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splitnet.codec import rans
from splitnet.codec.contexts import CONTEXTS, NEIGHBOURHOODS, TableChoice, context_of, contexts

ANY = st.one_of(st.integers(-4, 4), st.integers(-32768, 32767))
LATENTS = hnp.arrays(np.int16, st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)), elements=ANY)


@pytest.mark.parametrize(
    ("neighbours", "context"),  # west, north, north-west, north-east
    [
        ((0, 0, 0, 0), 1),
        ((0, 0, -1, -1), 2),
        ((0, -1, 0, -1), 2),
        ((0, 0, 0, 1), 3),
        ((1, 0, -1, 0), 3),
        ((1, 0, 0, 0), 4),
        ((0, -1, -1, -2), 5),
        ((-3, 0, 0, 0), 5),
        ((-1, -1, 0, 0), 6),
        ((1, -1, 0, 0), 7),
        ((40, -40, 1, 0), 7),
        ((1, 1, 0, 0), 8),
        ((1, 1, 1, 0), 9),
        ((65535, 65535, 65535, 65535), 9),
    ],
)
def test_faint_and_loud_neighbours_and_their_sign_are_told_apart(neighbours, context):
    assert context_of(*neighbours) == context


@given(ANY, ANY, ANY, ANY)
def test_the_opposite_neighbours_have_the_mirrored_context(west, north, north_west, north_east):
    context = context_of(west, north, north_west, north_east)
    mirrored = {1: 1, 2: 4, 3: 3, 4: 2, 5: 9, 6: 8, 7: 7, 8: 6, 9: 5}
    assert context_of(-west, -north, -north_west, -north_east) == mirrored[context]


def neighbours_of(distance: np.ndarray, row: int, column: int) -> tuple[int, int, int, int]:
    """Return what the documentation says the neighbours in one channel (H, W) are."""

    def at(y: int, x: int) -> int:
        return int(distance[y, x]) if y >= 0 and 0 <= x < distance.shape[1] else 0

    west, north = at(row, column - 1), at(row - 1, column)
    if row == 0:
        north = west
    if column == 0:
        west = north
    return west, north, at(row - 1, column - 1), at(row - 1, column + 1)


@settings(max_examples=60)
@given(LATENTS, st.integers(-32768, 32767))
def test_every_symbol_is_seen_between_its_neighbours(symbols, centre):
    found = contexts(symbols, np.full(len(symbols), centre, np.int16))
    assert found.dtype == np.uint8
    distance = symbols.astype(int) - centre
    for channel, row, column in np.ndindex(symbols.shape):
        assert found[channel, row, column] == context_of(*neighbours_of(distance[channel], row, column))


@settings(max_examples=200)
@given(LATENTS, st.integers(-32768, 32767))
def test_the_compiled_coder_takes_the_same_tables(symbols, centre):
    rows = np.arange(len(symbols) * CONTEXTS, dtype=np.uint16).reshape(-1, CONTEXTS)
    choice = TableChoice(rows, np.full(len(symbols), centre, np.int16))
    assert rans._indexes(symbols, choice.rows, choice.centre).tolist() == choice.indexes(symbols).tolist()


@settings(max_examples=20)
@given(LATENTS)
def test_what_comes_later_changes_no_context(symbols):
    centre = np.zeros(len(symbols), np.int16)
    before = contexts(symbols, centre)
    for place in range(symbols.size):
        later = symbols.copy()
        later.flat[place:] = 9
        assert contexts(later, centre).flat[place] == before.flat[place]


def test_a_channels_own_table_is_no_neighbourhoods():
    choice = TableChoice(np.arange(CONTEXTS, dtype=np.uint16)[None], np.zeros(1, np.int16))
    assert choice.in_context
    symbols = np.random.default_rng(0).integers(-3, 4, (1, 40, 40)).astype(np.int16)
    assert sorted(set(choice.indexes(symbols).tolist())) == list(range(1, 1 + NEIGHBOURHOODS))


def test_without_contexts_every_symbol_of_a_channel_has_its_table():
    choice = TableChoice.alone(np.array([4, 2], np.uint16))
    assert not choice.in_context
    assert choice.indexes(np.ones((2, 1, 3), np.int16)).tolist() == [4, 4, 4, 2, 2, 2]
