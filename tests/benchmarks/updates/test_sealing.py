"""What numbers take on the wire."""

from __future__ import annotations

import numpy as np

from benchmarks.updates.quantising import code_of, of_bits, of_step, sent_bytes
from benchmarks.updates.sealing import HEADER_BYTES, float16_bytes, mask_bytes, run_lengths, symbol_bytes, zstd_bytes


def test_run_lengths_are_the_zeros_before_each_one():
    mask = np.array([0, 0, 1, 1, 0, 0, 0, 1, 0, 0], np.bool_)
    assert run_lengths(mask).tolist() == [2, 0, 3]
    assert run_lengths(np.zeros(9, np.bool_)).tolist() == []


def test_a_run_beyond_int16_is_said_in_parts():
    mask = np.zeros(70_001, np.bool_)
    mask[[70_000]] = True
    assert run_lengths(mask).tolist() == [32_767, 32_767, 4_466]


def test_numbers_that_do_not_compress_are_sent_as_they_are():
    noise = np.random.default_rng(0).bytes(1000)
    assert zstd_bytes(noise) == 1000
    assert zstd_bytes(bytes(1000)) < 30


def test_symbols_take_about_their_entropy():
    symbols = np.random.default_rng(0).integers(0, 2, 8000).astype(np.int16)
    assert 1000 <= symbol_bytes([symbols]) <= 1030
    assert symbol_bytes([]) == 0


def test_half_precision_takes_two_bytes_at_most():
    values = np.random.default_rng(0).standard_normal(500)
    assert float16_bytes([values[:200], values[200:]]) <= 1000
    assert float16_bytes([]) == 0


def test_a_mask_of_a_hundredth_takes_far_less_than_a_bit_for_each_weight():
    mask = np.random.default_rng(0).random(80_000) < 0.01
    entropy_bytes = 80_000 * 0.0808 / 8
    assert entropy_bytes * 0.95 <= mask_bytes([mask]) <= entropy_bytes * 1.1


def test_a_tensor_in_few_bits_keeps_its_largest_value_in_range():
    one = of_bits(np.array([-1.0, 0.4, 0.0, 0.9], np.float32), 3)
    assert np.abs(one.symbols).max() <= 3
    assert np.abs(one.values - [-1.0, 0.4, 0.0, 0.9]).max() <= 2 ** (one.step_code / 8) / 2 + 1e-6


def test_steps_are_eighths_of_an_octave():
    assert (code_of(1.0), code_of(0.5), code_of(2 ** (1 / 8)), code_of(0.0)) == (0, -8, 1, -320)
    one = of_step(np.array([0.6, -1.2, 0.2], np.float32), 0.5)
    assert (one.symbols.tolist(), one.values.tolist()) == ([1, -2, 0], [0.5, -1.0, 0.0])


def test_an_update_counts_header_steps_and_symbols():
    tensors = {"a": of_step(np.ones(64, np.float32), 1.0), "b": of_step(np.zeros(64, np.float32), 0.5)}
    parts = symbol_bytes([np.array([0, -8], np.int16)]) + symbol_bytes([one.symbols for one in tensors.values()])
    assert sent_bytes(tensors) == HEADER_BYTES + parts
