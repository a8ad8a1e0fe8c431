"""Gains and a differentiable estimate of the bytes, for every width and quality."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Quantised:
    """What the server would hold, and what it would cost."""

    y_hat: Tensor  # (N, C, h, w) float32, dequantised
    bits: Tensor  # (N,) float32, estimated


class GainedQuantiser(nn.Module):
    """Per width, quality and channel: a gain, its inverse, and a logistic density of the symbols.

    One model serves many rates by scaling the latent before rounding (Cui et al., arXiv 2003.02012).
    Rounding passes gradients straight through; the rate sees uniform noise instead (Ballé et al.,
    arXiv 1611.01704). The density here is only for training: the tables are fitted afterwards.
    """

    sent: Tensor

    def __init__(self, widths: int, qualities: int, channels: int, sent: Tensor | None = None) -> None:
        """Take the sizes, and what is sent at all: (widths, qualities, channels) of 0 and 1; None: everything."""
        super().__init__()
        everything = torch.ones(widths, qualities, channels)
        self.register_buffer("sent", everything if sent is None else sent, persistent=False)  # it is no weight
        ends = (math.log(0.5), math.log(4.0))
        steps = torch.linspace(*ends, qualities) if qualities > 1 else torch.tensor([sum(ends) / 2])
        self.log_gain = nn.Parameter(steps[None, :, None].repeat(widths, 1, channels))
        self.log_inverse = nn.Parameter(-self.log_gain.detach().clone())
        self.location = nn.Parameter(torch.zeros(widths, qualities, channels))
        self.log_scale = nn.Parameter(torch.zeros(widths, qualities, channels))

    def forward(self, latent: Tensor, widths: Tensor, qualities: Tensor) -> Quantised:
        """Quantise latents (N, C, h, w) at one width (from 1) and quality (from 0) each, both (N,) int64."""

        def at(parameter: Tensor) -> Tensor:
            return _at(parameter, widths, qualities)

        sent = at(self.sent)
        scaled = self.in_steps(latent, widths, qualities)
        noisy = scaled + torch.rand_like(scaled) - 0.5
        bits = logistic_bits(noisy, at(self.location), at(self.log_scale)) * sent
        symbols = scaled + (scaled.round() - scaled).detach()
        return Quantised(symbols * at(self.log_inverse).exp(), bits.sum(dim=(1, 2, 3)))

    def in_steps(self, latent: Tensor, widths: Tensor, qualities: Tensor) -> Tensor:
        """Return latents (N, C, h, w) in steps of their width and quality, not rounded yet; 0 where nothing is sent."""
        return latent * _at(self.log_gain, widths, qualities).exp() * _at(self.sent, widths, qualities)

    def gains(self) -> tuple[Tensor, Tensor]:
        """Return gains and inverse gains (widths, qualities, channels) float32, also of what is not sent."""
        return self.log_gain.detach().exp(), self.log_inverse.detach().exp()


def _at(parameter: Tensor, widths: Tensor, qualities: Tensor) -> Tensor:
    return parameter[widths - 1, qualities][:, :, None, None]


def logistic_bits(symbols: Tensor, location: Tensor, log_scale: Tensor) -> Tensor:
    """Return the code length in bits of each symbol under a discretised logistic density."""
    centred = (symbols - location).abs()  # symmetric: work in the upper tail, where floats are accurate
    inverse_scale = (-log_scale.clamp(-5, 5)).exp()
    mass = torch.sigmoid((0.5 - centred) * inverse_scale) - torch.sigmoid((-0.5 - centred) * inverse_scale)
    return -torch.log2(mass.clamp(min=1e-6))


def uniform_operating_points(
    count: int, widths: int, qualities: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw a width and a quality for each image of a batch: the sandwich rule at the price of one pass.

    A third of the images get the full width, the others any width alike. (Yu and Huang, arXiv 1903.05134, train the
    smallest and largest in every step; drawing for each image costs a third of that.) Returns widths (from 1) and
    qualities (from 0), each (count,) int64.
    """
    drawn = torch.randint(1, widths + 1, (count,), generator=generator)
    full = torch.rand(count, generator=generator) < 1 / 3
    return drawn.masked_fill(full, widths), torch.randint(0, qualities, (count,), generator=generator)


def sandwich_operating_points(
    count: int, widths: int, qualities: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw a width and a quality for each image of a batch by the sandwich rule (Yu and Huang, arXiv 1903.05134).

    Three eighths of the images get the full width, a quarter the smallest, and the rest one width between them: so
    each group is large enough for the statistics of its normalisation. Returns widths (from 1) and qualities (from 0),
    each (count,) int64.
    """
    full, smallest = -(-3 * count // 8), count // 4
    lowest = 2 if smallest and widths > 2 else 1
    drawn = torch.randint(lowest, max(lowest + 1, widths), (1,), generator=generator)
    groups = (
        torch.full((full,), widths),
        torch.ones(smallest, dtype=torch.int64),
        drawn.repeat(count - full - smallest),
    )
    return torch.cat(groups), torch.randint(0, qualities, (count,), generator=generator)


def pad_to(latent: Tensor, cells: int) -> Tensor:
    """Zero-pad a latent (N, C, h, w) at right and bottom to the square (N, C, cells, cells)."""
    return F.pad(latent, (0, cells - latent.shape[3], 0, cells - latent.shape[2]))
