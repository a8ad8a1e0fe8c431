"""Weights that change as an update changes them: quantised in every step of the training, so that nothing comes after.

Gradients pass through the rounding as if it were not there (Bengio et al., arXiv 1308.3432).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from splitnet.updates.weights.families import (
    BASIS,
    DENSE,
    FACTORS,
    INPUTS,
    MAX_STEP_CODE,
    OUTPUTS,
    SEEDED,
    STEPS_AN_OCTAVE,
    Change,
    Integers,
    basis_terms,
    seeded_columns,
)
from training.updates.code_length import code_bits

MOST_SYMBOL = 30_000  # of int16


def straight(latents: Tensor) -> Tensor:
    """Return latents rounded, with the gradient of what is not."""
    return latents + (latents.round() - latents).detach()


class Changing(nn.Module):
    """A change of one family, as it is trained."""

    def __init__(
        self, family: str, shape: Sequence[int], step_code: float, latents: Sequence[Tensor], seed: int
    ) -> None:
        """Take a tensor's shape, and where the training begins. latents: as `families.part_sizes` orders them."""
        super().__init__()
        self.family, self.shape = family, tuple(shape)
        self.step_code = nn.Parameter(torch.tensor(float(step_code)))
        self.latents = nn.ParameterList([nn.Parameter(one.clone().float()) for one in latents])
        for number, terms in enumerate(self._terms(seed)):
            self.register_buffer(f"terms{number}", torch.from_numpy(terms).float(), persistent=False)

    def _terms(self, seed: int) -> Sequence[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
        if self.family == SEEDED:
            return [seeded_columns(self.shape, len(self.latents), seed)]
        return basis_terms(self.shape, len(self.latents[0]), seed) if self.family == BASIS else []

    def forward(self, base: Tensor) -> Tensor:
        """Return what is added to a tensor."""
        symbols = [straight(one) for one in self.latents]
        step = torch.exp2(straight(self.step_code) / STEPS_AN_OCTAVE)
        if self.family == DENSE:
            return symbols[0].reshape(base.shape) * step
        if self.family == OUTPUTS:
            return base * (symbols[0] * step).reshape(-1, *[1] * (base.dim() - 1))
        if self.family == INPUTS:
            return base * (symbols[0] * step).reshape(1, -1, *[1] * (base.dim() - 2))
        return (self._product(symbols) * step).reshape(base.shape)

    def _product(self, symbols: Sequence[Tensor]) -> Tensor:
        if self.family == FACTORS:
            return torch.stack(list(symbols[::2]), 1) @ torch.stack(list(symbols[1::2]))
        if self.family == SEEDED:
            return self._buffers["terms0"] @ torch.stack(list(symbols))  # type: ignore[operator]
        left, right = self._buffers["terms0"], self._buffers["terms1"]
        assert left is not None and right is not None
        return torch.outer(symbols[0] @ left, symbols[1] @ right)

    def bits(self) -> Tensor:
        """Return about how many bits it takes, with a gradient."""
        return torch.stack([code_bits(one) for one in self.latents]).sum()

    @torch.no_grad()
    def reach(self, base: Tensor) -> float:
        """Return by about how much the tensor's weights change where a symbol moves by one."""
        step: float = 2.0 ** (float(self.step_code) / STEPS_AN_OCTAVE)
        if self.family in (OUTPUTS, INPUTS):
            return step * float(base.square().mean().sqrt())
        if self.family in (FACTORS, BASIS):  # it is multiplied by the other factor's
            return step * max(1.0, float(torch.cat([one.flatten() for one in self.latents]).square().mean().sqrt()))
        return step

    @torch.no_grad()
    def coarsen(self, octaves: float) -> None:
        """Make the step larger, or smaller, and the symbols fewer: the change stays."""
        self.step_code.add_(STEPS_AN_OCTAVE * octaves)
        shared = 0.5 if self.family in (FACTORS, BASIS) else 1.0  # of two factors
        for one in self.latents:
            one.mul_(2.0 ** (-octaves * shared))

    def change(self) -> Change | None:
        """Return what is sent of it; None if nothing is left. Components that have become zero are not sent."""
        parts = [_integers(one) for one in self.latents]
        if self.family == FACTORS:
            pairs = [pair for pair in zip(parts[::2], parts[1::2], strict=True) if pair[0].any() and pair[1].any()]
            parts = [part for pair in pairs for part in pair]
        while self.family == SEEDED and parts and not parts[-1].any():
            parts.pop()
        if not all(part.any() for part in parts) if self.family == BASIS else not any(part.any() for part in parts):
            return None
        rank = {FACTORS: len(parts) // 2, SEEDED: len(parts), BASIS: parts[0].size}.get(self.family, 0)
        code = round(float(self.step_code.detach()))
        return Change(max(-MAX_STEP_CODE, min(MAX_STEP_CODE, code)), tuple(parts), rank)


class ChangingTensor(nn.Module):
    """A tensor with all that changes in it. A parametrisation (`torch.nn.utils.parametrize`)."""

    base: Tensor

    def __init__(self, base: Tensor, changes: Sequence[Changing]) -> None:
        """Take it as it was, and its changes."""
        super().__init__()
        self.register_buffer("base", base.float(), persistent=False)
        self.ways = tuple(changes)
        self.registered = nn.ModuleList(changes)

    def forward(self, _: Tensor) -> Tensor:
        """Return the tensor as it is now."""
        now = self.base
        for one in self.ways:
            now = now + one(self.base)
        return now


def _integers(latents: Tensor) -> Integers:
    rounded = latents.detach().round().clamp(-MOST_SYMBOL, MOST_SYMBOL)
    return rounded.reshape(-1).numpy().astype(np.int16)
