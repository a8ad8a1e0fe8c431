"""How a merged detector's tail answers, beside the recipient's own: without labels, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

TINY = 1e-6
FAINT = 1e-3  # what neither detector scores higher says nothing of either


@dataclass(eq=False)
class ScoreAgreement:
    """The divergence of score maps, as a share of what the recipient's own scores say.

    Each score is a probability of its own. The measure is 1 - KL(own, merged) / KL(own, mean score of the class): 1 for
    the same scores, 0 for those of a detector that always says the same, below 0 for worse. It is the explained
    deviance of the logistic regression (McFadden's R^2), so it does not depend on how sure a detector is of itself.
    """

    _diverged: float = field(default=0.0, init=False)
    _entropy: float = field(default=0.0, init=False)
    _sums: Tensor | None = field(default=None, init=False)
    _count: int = field(default=0, init=False)

    def add(self, own: Tensor, merged: Tensor) -> None:
        """Take scores (N, A, classes) 0..1 of the same images in."""
        own, merged = own.double().flatten(0, 1), merged.double().flatten(0, 1)
        self._sums = own.sum(dim=0) + (0.0 if self._sums is None else self._sums)
        self._count += len(own)
        said = torch.maximum(own, merged).amax(dim=1) > FAINT
        own, merged = own[said], merged[said]
        self._entropy += float(_entropy(own).sum())
        self._diverged += float((_cross_entropy(own, merged) - _entropy(own)).sum())

    @property
    def explained(self) -> float:
        """The share of the divergence from the mean scores that the merged detector's scores do away with."""
        if self._sums is None:
            return 0.0
        known = float(_entropy(self._sums / self._count).sum()) * self._count - self._entropy
        return 1 - self._diverged / known if known > 0 else 0.0


def _entropy(p: Tensor) -> Tensor:
    return _cross_entropy(p, p)


def _cross_entropy(p: Tensor, q: Tensor) -> Tensor:
    q = q.clamp(TINY, 1 - TINY)
    return -(p * q.log() + (1 - p) * (1 - q).log())


@dataclass(eq=False)
class FeatureAgreement:
    """R^2 of a merged detector's features as the recipient's: the variance that they explain, the mean over tensors."""

    _sums: dict[str, list[Tensor]] = field(default_factory=dict, init=False)
    _counts: dict[str, int] = field(default_factory=dict, init=False)

    def add(self, own: Mapping[str, Tensor], merged: Mapping[str, Tensor], names: Sequence[str]) -> None:
        """Take features (N, C, H, W) of the same images in."""
        for name in names:
            y, other = own[name].double(), merged[name].double()
            parts = [y.sum(dim=(0, 2, 3)), y.square().sum(dim=(0, 2, 3)), (y - other).square().sum(dim=(0, 2, 3))]
            known = self._sums.setdefault(name, [torch.zeros_like(parts[0])] * len(parts))
            self._sums[name] = [a + b for a, b in zip(known, parts, strict=True)]
            self._counts[name] = self._counts.get(name, 0) + y.shape[0] * y.shape[2] * y.shape[3]

    @property
    def r2(self) -> float:
        """1 - (squared error) / (variance), over all channels of each tensor."""
        found = [_explained(self._sums[name], self._counts[name]) for name in self._sums]
        return sum(found) / len(found) if found else 0.0


def _explained(sums: Sequence[Tensor], count: int) -> float:
    total, squares, error = sums
    variance = (squares - total.square() / count).sum()
    return float(1 - error.sum() / variance) if float(variance) > 0 else 0.0
