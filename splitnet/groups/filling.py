"""What stands for the parts of a frame that have not come: what those that came let one expect of them.

Channels of all parts at one position count as jointly normal, with a mean and a covariance that were measured on
images. The expected value of some given the others is linear in these, in closed form for any set of lost parts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

RIDGE = 1e-3  # of the mean variance: what keeps the inverse tame where channels hardly vary
MAX_KEPT = 64  # sets of lost parts whose weights are kept


class Filling(nn.Module):
    """Expected values of lost channels."""

    mean: Tensor
    covariance: Tensor

    def __init__(self, channels: int) -> None:
        """Take the number of channels of all parts together; its figures are loaded."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("covariance", torch.eye(channels))
        self._weights: dict[tuple[bool, ...], Tensor] = {}

    @classmethod
    def measured(cls, samples: Tensor) -> Filling:
        """Return what has been measured on samples (N, channels)."""
        filling = cls(samples.shape[1])
        filling.mean.copy_(samples.double().mean(0))
        filling.covariance.copy_(samples.T.double().cov())
        return filling

    def fill(self, latent: Tensor, came: Tensor) -> Tensor:
        """Return a latent (C, H, W) with the channels filled in that have not come. came: (C,), whether each has."""
        if bool(came.all()):
            return latent
        key = tuple(came.tolist())
        if key not in self._weights:
            if len(self._weights) >= MAX_KEPT:
                self._weights.clear()
            self._weights[key] = self._solve(came)
        lost = ~came
        mean = self.mean.cpu()[:, None, None]
        filled = latent.clone()
        filled[lost] = torch.einsum("lc,chw->lhw", self._weights[key], latent[came] - mean[came]) + mean[lost]
        return filled

    def _solve(self, came: Tensor) -> Tensor:
        """Return the weights (lost, came) of what has come for what has not."""
        covariance = self.covariance.cpu().double()
        own = covariance[came][:, came]
        own += RIDGE * own.diagonal().mean() * torch.eye(len(own), dtype=own.dtype)
        across = covariance[came][:, ~came]
        weights: Tensor = torch.linalg.solve(own, across).T
        return weights.to(self.mean.dtype)
