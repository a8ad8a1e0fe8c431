"""Second moments of two sets of features, gathered image by image: all that a least-squares map is made from.

Memory is bounded by channels, never by images. Images fall into folds by turns, so that what is fitted on some of them
can be judged on the others without a second look at any.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
FOLDS = 3
FLUSH_EVERY = 8  # images


@dataclass(eq=False)
class Moments:
    """Sums of rows x (n, p), y (n, q) and of their products.

    Products of a few images are summed in single precision, and those sums in double.
    """

    p: int
    q: int
    count: int = field(default=0, init=False)
    x: Floats = field(init=False)
    y: Floats = field(init=False)
    yy: Floats = field(init=False)  # (q,): each channel with itself
    _xx: Floats = field(init=False)
    _xy: Floats = field(init=False)
    _recent: tuple[Tensor, Tensor] = field(init=False)
    _adds: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Begin with no rows."""
        self.x, self.y, self.yy = np.zeros(self.p), np.zeros(self.q), np.zeros(self.q)
        self._xx, self._xy = np.zeros((self.p, self.p)), np.zeros((self.p, self.q))
        self._recent = _zeros(self.p, self.q)

    def add(self, x: Tensor, y: Tensor) -> None:
        """Take rows x (n, p) and y (n, q) float32 in."""
        self.count += len(x)
        self.x += x.double().sum(dim=0).numpy()
        self.y += y.double().sum(dim=0).numpy()
        self.yy += y.double().square().sum(dim=0).numpy()
        for total, other in zip(self._recent, (x, y), strict=True):
            total.addmm_(x.T, other)
        self._adds += 1
        if self._adds % FLUSH_EVERY == 0:
            self._flush()

    def _flush(self) -> None:
        for total, recent in zip((self._xx, self._xy), self._recent, strict=True):
            total += recent.numpy()
        self._recent = _zeros(self.p, self.q)  # anew: what was made in inference mode cannot be emptied outside of it

    @property
    def xx(self) -> Floats:
        """Sums of products of x with x (p, p)."""
        self._flush()
        return self._xx

    @property
    def xy(self) -> Floats:
        """Sums of products of x with y (p, q)."""
        self._flush()
        return self._xy

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both."""
        total = Moments(self.p, self.q)
        total.count = self.count + other.count
        total.x, total.y, total.yy = self.x + other.x, self.y + other.y, self.yy + other.yy
        total._xx, total._xy = self.xx + other.xx, self.xy + other.xy
        return total

    def of(self, columns: NDArray[np.int64]) -> Moments:
        """Return the moments of some of the columns of x."""
        part = Moments(len(columns), self.q)
        part.count, part.x, part.y, part.yy = self.count, self.x[columns], self.y, self.yy
        part._xx, part._xy = self.xx[np.ix_(columns, columns)], self.xy[columns]
        return part

    @property
    def covariances(self) -> tuple[Floats, Floats, Floats]:
        """Covariances of x with x (p, p), of x with y (p, q), and the variances of y (q,)."""
        n = max(self.count, 1)
        x, y = self.x / n, self.y / n
        return self.xx / n - np.outer(x, x), self.xy / n - np.outer(x, y), np.maximum(self.yy / n - y * y, 0.0)


def _zeros(p: int, q: int) -> tuple[Tensor, Tensor]:
    return torch.zeros(p, p), torch.zeros(p, q)


def rows_of(x: Tensor, kernel: int, positions: Tensor | None = None) -> Tensor:
    """Return features (1, C, H, W) as rows (positions, C * kernel^2): what a convolution sees at each position.

    A row's order is that of a convolution's weight. positions: which of the H * W, all of them if None.
    """
    if kernel == 1:
        rows = x[0].flatten(1).T
        return rows if positions is None else rows[positions]
    columns = F.unfold(x, kernel, padding=kernel // 2)[0]  # (C k k, H W)
    return (columns if positions is None else columns[:, positions]).T


def drawn_positions(seen: Tensor, height: int, width: int, wanted: int, seed: int) -> Tensor:
    """Return which positions of a tensor are looked at: at most half of them, and as many as are wanted.

    seen: (1, 1, h, w) from 0 on, where the detector sees objects. Half of the draws go by it, half go anywhere: most of
    an image is background, which says little of what the detector needs.
    """
    belief = F.interpolate(seen, size=(height, width), mode="nearest").flatten()
    weights = 1 / len(belief) + belief / belief.sum().clamp(min=1e-6)
    count = min(wanted, -(-len(belief) // 2))
    return torch.multinomial(weights, count, generator=torch.Generator().manual_seed(seed))
