"""How alike two representations are: measures that see features in small batches, in bounded memory.

CKA: centred kernel alignment with linear kernels (Kornblith et al., arXiv 1905.00414), its HSIC debiased (Song et al.
2012) and summed over small batches before the ratio is taken (Nguyen et al., arXiv 2010.15327). A row is a position of
an image. Procrustes: the similarity behind the orthogonal Procrustes distance (Ding et al., arXiv 2108.01661). Gram
cosine: of the uncentred Gram matrices.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from training.sharing.moments import Floats, Moments

ROWS = 256  # of a batch: its Gram matrices are ROWS x ROWS


@dataclass(eq=False)
class Alignment:
    """Gathers batches of rows x (n, p) and y (n, q) of the same positions; measures are 0..1, 1 for the same."""

    p: int
    q: int
    seen: int = 0
    _moments: Moments = field(init=False)
    _hsic: Floats = field(default_factory=lambda: np.zeros(3), init=False)
    _gram: Floats = field(default_factory=lambda: np.zeros(3), init=False)

    def __post_init__(self) -> None:
        """Begin with nothing."""
        self._moments = Moments(self.p, self.q)

    def add(self, x: Tensor, y: Tensor, seen: int = 0) -> None:
        """Take rows in. seen: what `seen` is from then on."""
        self.seen = seen
        self._moments.add(x, y)
        x, y = x[:ROWS].double(), y[:ROWS].double()
        if len(x) < 4:  # the estimate divides by n - 3
            return
        k, l = x @ x.T, y @ y.T  # noqa: E741 - the paper's letters
        self._gram += [float((k * l).sum()), float((k * k).sum()), float((l * l).sum())]
        for one in (k, l):
            one.fill_diagonal_(0.0)
        self._hsic += [debiased_hsic(k, l), debiased_hsic(k, k), debiased_hsic(l, l)]

    @property
    def cka(self) -> float:
        """Debiased linear CKA."""
        return _ratio(self._hsic)

    @property
    def gram_cosine(self) -> float:
        """Cosine of the Gram matrices."""
        return _ratio(self._gram)

    @property
    def procrustes(self) -> float:
        """Nuclear norm of the cross-covariance, of features of unit norm: 1 if one is the other rotated."""
        xx, xy, yy = self._moments.covariances
        scale = np.sqrt(max(float(np.trace(xx)), 0.0) * float(yy.sum()))
        return float(np.linalg.svd(xy, compute_uv=False).sum() / scale) if scale > 0 else 0.0


def debiased_hsic(k: Tensor, l: Tensor) -> float:  # noqa: E741 - the paper's letters
    """Return the unbiased estimate of HSIC of two Gram matrices (n, n) whose diagonals are zero; n from 4 on."""
    n = len(k)
    trace = (k * l).sum()
    sums = k.sum() * l.sum() / ((n - 1) * (n - 2))
    mixed = 2 / (n - 2) * (k.sum(dim=0) @ l.sum(dim=0))
    return float((trace + sums - mixed) / (n * (n - 3)))


def _ratio(values: Floats) -> float:
    """Return a similarity of (k, l), (k, k), (l, l); 0 where nothing varies."""
    scale = np.sqrt(max(values[1], 0.0) * max(values[2], 0.0))
    return float(values[0] / scale) if scale > 0 else 0.0
