"""Uniform quantisation of what rivals send: a step for each tensor, in eighths of an octave."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.updates.sealing import HEADER_BYTES, Symbols, symbol_bytes

Values = NDArray[np.float32]
STEPS_AN_OCTAVE = 8
LEAST_STEP = 2.0**-40
MOST_SYMBOL = 32_767


@dataclass(frozen=True, eq=False)
class Quantised:
    """A tensor as symbols times a step."""

    symbols: Symbols
    step_code: int

    @property
    def values(self) -> Values:
        """What it stands for."""
        return np.asarray(self.symbols * 2.0 ** (self.step_code / STEPS_AN_OCTAVE), np.float32)


def of_bits(values: Values, bits: int) -> Quantised:
    """Return a tensor in at most 2**bits - 1 levels, as far as its largest value. bits: from 2 on."""
    largest = float(np.abs(values).max(initial=0.0))
    return _of_code(values, math.ceil(_code(largest / (2 ** (bits - 1) - 1))))


def of_step(values: Values, step: float) -> Quantised:
    """Return a tensor rounded to multiples of about a step."""
    return _of_code(values, code_of(step))


def code_of(step: float) -> int:
    """Return the code of the step nearest to a size."""
    return round(_code(step))


def sent_bytes(tensors: Mapping[str, Quantised]) -> int:
    """Return how many bytes an update of quantised tensors takes: header, steps and symbols."""
    codes = np.array([one.step_code for one in tensors.values()], np.int16)
    return HEADER_BYTES + symbol_bytes([np.diff(codes, prepend=0)]) + symbol_bytes(symbols_of(tensors))


def symbols_of(tensors: Mapping[str, Quantised]) -> list[Symbols]:
    """Return the symbols of each tensor."""
    return [one.symbols for one in tensors.values()]


def _code(step: float) -> float:
    return STEPS_AN_OCTAVE * math.log2(max(step, LEAST_STEP))


def _of_code(values: Values, code: int) -> Quantised:
    step = 2 ** (code / STEPS_AN_OCTAVE)
    return Quantised(np.rint(values / step).clip(-MOST_SYMBOL, MOST_SYMBOL).astype(np.int16), code)
