"""Groups of integers survive, in hardly more bits than they hold, and damage is seen."""

from __future__ import annotations

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitnet.errors import UpdateError
from splitnet.updates.weights.counter_random import signs, words
from splitnet.updates.weights.parametric_tables import TABLES, bits, row, table_number
from splitnet.updates.weights.symbol_coder import MAX_SYMBOLS, decode_groups, encode_groups, group_bits


def test_the_generator_is_splitmix64():
    assert words(1234567, 0, 3).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert words(1234567, 2, 1).tolist() == [9817491932198370423]


def test_random_signs_are_the_same_everywhere():
    assert signs(5, 1, 2, 8).tolist() == [[-1, 1, 1, -1, 1, 1, 1, -1], [-1, 1, 1, -1, -1, -1, -1, -1]]
    assert abs(signs(5, 0, 100, 100).sum()) < 300


def test_every_table_is_a_distribution():
    for number in range(1, TABLES):
        steps = np.diff(row(number).cdf.astype(np.int64))
        assert steps.min() >= 1 and steps.sum() == 1 << 15


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        arrays.arrays(np.int16, st.integers(0, 40), elements=st.integers(-300, 300) | st.integers(-(1 << 15), 32767)),
        max_size=6,
    )
)
def test_groups_survive(groups):
    found = decode_groups(encode_groups(groups), [group.size for group in groups])
    assert all(np.array_equal(one, other) for one, other in zip(found, groups, strict=True))


@pytest.mark.parametrize("spread", [0.2, 1.0, 8.0])
def test_laplacian_groups_take_hardly_more_than_their_entropy(spread):
    group = np.round(np.random.default_rng(1).laplace(size=4000) * spread).astype(np.int16)
    _, counts = np.unique(group, return_counts=True)
    entropy = float(-(counts * np.log2(counts / group.size)).sum())
    taken = 8 * len(encode_groups([group]))
    assert entropy < taken < 1.04 * entropy + 80
    assert taken == pytest.approx(group_bits(group), rel=0.05, abs=80)


def test_masks_need_no_signs():
    mask = (np.random.default_rng(1).random(8000) < 0.1).astype(np.int16)
    assert 8 * len(encode_groups([mask])) < 8000 * 0.485


def test_zeros_take_no_room():
    assert len(encode_groups([np.zeros(1_000_000, np.int16)])) < 12


def test_a_group_beyond_int16_is_refused():
    with pytest.raises(UpdateError, match="int16"):
        encode_groups([np.array([40_000])])


def test_more_symbols_than_any_model_has_are_refused_before_memory_is_taken():
    with pytest.raises(UpdateError, match="more symbols"):
        decode_groups(encode_groups([]), [MAX_SYMBOLS, 1])


def test_every_flipped_bit_and_every_cut_ends_in_an_error_or_other_symbols():
    groups = [np.array([0, 1, -2, 0, 5, 300], np.int16), np.zeros(9, np.int16), np.array([1, 0, 1], np.int16)]
    data, sizes = encode_groups(groups), [6, 9, 3]
    flipped = [data[:i] + bytes([data[i] ^ 1 << bit]) + data[i + 1 :] for i in range(len(data)) for bit in range(8)]
    for wrong in [*flipped, *(data[:i] for i in range(len(data)))]:
        try:
            found = decode_groups(wrong, sizes)
        except UpdateError:
            continue
        assert [one.size for one in found] == sizes
        assert not all(np.array_equal(one, other) for one, other in zip(found, groups, strict=True))


def test_the_estimate_of_an_escape_is_right():
    values = np.array([0, 5000])
    assert bits(table_number(30, 0, False), values, np.array([1, 1])) == pytest.approx(15 + 5 + 13, abs=0.01)
