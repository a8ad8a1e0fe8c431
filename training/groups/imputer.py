"""A small network on the server that predicts lost parts from those that came, learnt from unlabelled images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.groups.students import kept_parts

HIDDEN = 14  # units: 15 KB in half precision with 256 channels and four parts
STEPS, BATCH, RATE = 600, 512, 3e-3


class ImputerNetwork(nn.Module):
    """Maps what has come, and whether each part has, to all channels."""

    def __init__(self, channels: Sequence[Sequence[int]], mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        total = len(mean)  # channels of no part never come
        self.channels = channels
        self.mean, self.deviation = mean, deviation.clamp(min=1e-6)
        self.down = nn.Linear(total + len(channels), HIDDEN)
        self.up = nn.Linear(HIDDEN, total)

    def forward(self, features: Tensor, kept: Tensor) -> Tensor:
        """Return features (N, C) with those of lost parts predicted. kept: (N, parts) bool."""
        came = self.came(kept)
        known = torch.where(came, (features - self.mean) / self.deviation, 0.0)
        predicted = self.up(F.gelu(self.down(torch.cat([known, kept.float()], 1))))
        return torch.where(came, features, predicted * self.deviation + self.mean)

    def came(self, kept: Tensor) -> Tensor:
        """Return for each channel whether it has come, (N, C)."""
        came = torch.zeros(len(kept), len(self.mean), dtype=torch.bool)
        for part, own in enumerate(self.channels):
            came[:, list(own)] = kept[:, part, None]
        return came


def fit_imputer(features: Tensor, channels: Sequence[Sequence[int]], dropout: float, seed: int) -> ImputerNetwork:
    """Return a network fitted on features (images, channels) of which parts are taken away at random."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ImputerNetwork(channels, features.mean(0), features.std(0))
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE)
    for _ in range(STEPS):
        batch = features[torch.randint(0, len(features), (min(BATCH, len(features)),), generator=generator)]
        kept = kept_parts(len(batch), len(channels), dropout, generator)
        loss = F.mse_loss(network(batch, kept) / network.deviation, batch / network.deviation)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval().requires_grad_(False)
