"""Least-squares maps in closed form, with a ridge that held-out images choose: no gradients, no labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitnet.nn.joint import Joint, JointSpec, Source, resampled_channels
from training.sharing.moments import Floats, Moments

RIDGES = (1e-5, 1e-4, 1e-3, 1e-2)  # in units of the mean variance of what is read
ROUNDING = 1e-6  # of single precision, in which products are summed
# A map explains a part of what it maps to, so what it gives varies less, and a tail sees less than it knows. So much of
# the lost spread is given back, as an exponent; all of it would enlarge the errors as well.
GIVEN_BACK = 0.5
LEAST_SPREAD = 0.01  # share of a channel's variance: what is explained less is not enlarged further
FLAT = 1e-12  # a variance below this share of the largest is none


@dataclass(frozen=True, eq=False)
class LinearMap:
    """y = x W + b, how much of y it explains where it was not fitted, and what it was fitted with."""

    weight: Floats  # (p, q)
    bias: Floats  # (q,)
    ridge: float
    r2: float  # share of the variance of held-out images that is explained; at most 1
    is_singular: bool  # what is read does not vary in all directions: only the ridge makes the map one

    def joint(self, spec: JointSpec) -> Joint:
        """Return the map as the module that runs."""
        joint = Joint(spec)
        weight = self.weight.T.reshape(spec.channels, spec.columns, spec.kernel, spec.kernel)
        with torch.no_grad():
            joint.conv.load_state_dict(
                {"weight": torch.from_numpy(np.ascontiguousarray(weight)), "bias": torch.from_numpy(self.bias)}
            )
        return joint.eval().requires_grad_(False)


def fit(folds: Sequence[Moments], ridges: Sequence[float] = RIDGES) -> LinearMap:
    """Return the map of all rows, with the ridge that explains most of each fold when fitted on the others."""
    total = reduce(add, folds)
    filled = [one for one in folds if one.count]
    if len(filled) < 2:
        weight, bias = solve(total, ridges[-1])
        return LinearMap(*with_spread(total, weight), ridges[-1], explained(total, weight, bias), True)
    scores = np.zeros(len(ridges))
    for held_out in filled:
        others = reduce(add, (one for one in filled if one is not held_out))
        scores += [explained(held_out, *solve(others, ridge)) for ridge in ridges]
    best = int(np.argmax(scores))
    weight, _ = solve(total, ridges[best])
    r2 = float(scores[best] / len(filled))
    return LinearMap(*with_spread(total, weight), ridges[best], r2, is_singular(total))


def solve(moments: Moments, ridge: float) -> tuple[Floats, Floats]:
    """Return weight (p, q) and bias (q,) with the least squared error and a penalty on the weights."""
    xx, xy, _ = moments.covariances
    lower = _factor(torch.from_numpy(xx), ridge * _scale(moments, xx))
    weight: Floats = torch.cholesky_solve(torch.from_numpy(xy), lower).numpy()
    return weight, _bias(moments, weight)


def _bias(moments: Moments, weight: Floats) -> Floats:
    """Return what makes the means equal."""
    n = max(moments.count, 1)
    bias: Floats = moments.y / n - (moments.x / n) @ weight
    return bias


def with_spread(moments: Moments, weight: Floats) -> tuple[Floats, Floats]:
    """Return weight and bias of a map whose channels vary nearer to as much as what they stand for does."""
    xx, _, yy = moments.covariances
    spread = np.sum(weight * (xx @ weight), axis=0)
    share = np.divide(spread, yy, out=np.ones_like(yy), where=yy > 0)
    weight = weight * np.clip(share, LEAST_SPREAD, 1.0) ** (-GIVEN_BACK / 2)
    return weight, _bias(moments, weight)


def _scale(moments: Moments, xx: Floats) -> float:
    """Return the mean variance of what is read; where rounding has left nothing of it, a trace of the mean square."""
    squares = float(np.square(moments.x / max(moments.count, 1)).mean())
    return max(float(np.trace(xx)) / len(xx), ROUNDING * squares) or 1.0


def _factor(xx: Tensor, ridge: float) -> Tensor:
    """Return the Cholesky factor of a covariance with a ridge, which grows until there is one: sums are rounded."""
    while True:
        found = torch.linalg.cholesky_ex(xx + ridge * torch.eye(len(xx), dtype=xx.dtype))
        if not found.info:
            return cast(Tensor, found.L)
        ridge *= 10


def explained(moments: Moments, weight: Floats, bias: Floats) -> float:
    """Return 1 - (squared error of a map) / (variance), over all channels: R^2; 0 if nothing varies."""
    xx, xy, yy = moments.covariances
    n = max(moments.count, 1)
    off = moments.y / n - (moments.x / n) @ weight - bias
    error = yy.sum() - 2 * np.sum(weight * xy) + np.sum(weight * (xx @ weight)) + np.sum(off * off)
    return float(1 - error / yy.sum()) if yy.sum() > 0 else 0.0


def is_singular(moments: Moments) -> bool:
    """Return whether what is read is constant in some direction, or seen at fewer positions than it has channels."""
    xx, _, _ = moments.covariances
    if moments.count <= len(xx):
        return True
    variances = np.diag(xx)
    return bool((variances <= FLAT * variances.max()).any())


def columns_of(spec: JointSpec, sources: Sequence[Source], kernel: int) -> NDArray[np.int64]:
    """Return which columns of a large joint's rows a smaller one reads: some of its sources, a smaller kernel."""
    taps = spec.kernel**2
    grid = np.arange(taps).reshape(spec.kernel, spec.kernel)
    rim = (spec.kernel - kernel) // 2
    kept_taps = grid[rim : rim + kernel, rim : rim + kernel].ravel()
    places, first = {}, 0
    for source in spec.sources:
        count = resampled_channels(source, spec.stride)
        places[source.key] = ((first + np.arange(count))[:, None] * taps + kept_taps).ravel()
        first += count
    return np.concatenate([places[source.key] for source in sources])
