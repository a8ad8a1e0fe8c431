"""The slimmable encoder as it is trained, and the statistics of its widths, which are measured afterwards.

In training the normalisation takes the mean and variance of what runs through it, image by image of one width. An
average over the steps would mean little, since the weights are shared and the widths are not. So the statistics of
each width are measured when the weights are final (both: Yu and Huang, arXiv 1903.05134).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.nn.encoder.ensemble import PIXEL_MEAN, PIXEL_SCALE, ConvShape, conv_shapes, trunk
from splitnet.nn.encoder.slimmable import SharedConv, SharedEncoder, SlimmableSpec
from training.distillation.width_groups import by_width

EPS = 1e-5  # of the normalisation
Convolve = Callable[[int, Tensor], Tensor]  # the i-th convolution of something


class SlimmableConv(nn.Module):
    """A convolution whose leading channels are a narrower one, followed by batch normalisation.

    Weights, scale and shift are those of all widths. In training mode the normalisation takes the batch's own mean and
    variance, in evaluation mode the width's: `means` and `variances` (widths, C_out), which training leaves alone.
    """

    means: Tensor
    variances: Tensor

    def __init__(self, shapes: Sequence[ConvShape]) -> None:
        """Take the convolution's shape at each width, the last one whole."""
        super().__init__()
        self.shapes, full = tuple(shapes), shapes[-1]
        self.weight = nn.Parameter(torch.empty(full.channels_out, full.fan_in, full.kernel, full.kernel))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.scale = nn.Parameter(torch.ones(full.channels_out))
        self.shift = nn.Parameter(torch.zeros(full.channels_out))
        self.register_buffer("means", torch.zeros(len(shapes), full.channels_out))
        self.register_buffer("variances", torch.ones(len(shapes), full.channels_out))

    def forward(self, x: Tensor, width: int) -> Tensor:
        """Map (N, C_in of the width, H, W) to (N, C_out of the width, H/stride, W/stride)."""
        return self.normalise(self.convolve(x, width), width)

    def convolve(self, x: Tensor, width: int) -> Tensor:
        """Do the convolution only."""
        shape = self.shapes[width - 1]
        weight = self.weight[: shape.channels_out, : shape.fan_in]
        return F.conv2d(x, weight, None, shape.stride, shape.padding, groups=shape.groups(1))

    def normalise(self, x: Tensor, width: int) -> Tensor:
        """Do the normalisation only."""
        n = self.shapes[width - 1].channels_out
        mean, variance = (None, None) if self.training else (self.means[width - 1, :n], self.variances[width - 1, :n])
        return F.batch_norm(x, mean, variance, self.scale[:n], self.shift[:n], self.training, eps=EPS)

    @torch.no_grad()
    def write_to(self, shared: SharedConv) -> None:
        """Store the weights, and what the normalisation does at each width."""
        shared.weight.copy_(self.weight)
        shared.scale.copy_(self.scale / torch.sqrt(self.variances + EPS))
        shared.shift.copy_(self.shift - self.means * shared.scale)


class SlimmableEncoder(nn.Module):
    """One trunk; any width runs from the same weights."""

    def __init__(self, spec: SlimmableSpec) -> None:
        super().__init__()
        self.spec = spec
        self.specs = [spec.at(width) for width in range(1, spec.widths + 1)]
        self.layers = nn.ModuleList(SlimmableConv(s) for s in zip(*map(conv_shapes, self.specs), strict=True))
        self.projection = nn.Parameter(torch.empty(spec.latent_channels, spec.channels, 1, 1))
        nn.init.normal_(self.projection, std=spec.channels**-0.5)
        # One bias a width: the sum of more channels needs another centre.
        self.bias = nn.Parameter(torch.zeros(spec.widths, spec.latent_channels))

    def forward(self, image: Tensor, width: int) -> Tensor:
        """Map BGR images (N, 3, H, W) float32 0..255 to the latent (N, L, H/16, W/16) of a width.

        What the width does not fill is zero.
        """
        x = self.trunk(image, lambda i, x: cast(Tensor, self.layers[i](x, width)))
        n, spec = self.specs[width - 1].latent_channels, self.spec
        latent = F.conv2d(x, self.projection[:n, : x.shape[1]], self.bias[width - 1, :n])
        return F.pad(latent, (0, 0, 0, 0, 0, spec.latent_channels - n))

    def trunk(self, image: Tensor, conv: Convolve) -> Tensor:
        """Run images through all convolutions; conv: the i-th of them, with its normalisation."""
        return trunk(len(self.layers), (image - PIXEL_MEAN) * PIXEL_SCALE, conv, F.relu)

    def latents(self, image: Tensor, widths: Tensor) -> Tensor:
        """Return the latent (N, L, H/16, W/16) at one width for each image; widths (N,) int64, from 1.

        Images of one width run together: in training they share the statistics of their normalisation.
        """
        return by_width(self, image, widths)

    @torch.no_grad()
    def shared(self) -> SharedEncoder:
        """Return what a bundle holds, with weights of its own. The statistics must have been measured."""
        shared = SharedEncoder(self.spec)
        for ours, theirs in zip(self.layers, shared.layers, strict=True):
            assert isinstance(ours, SlimmableConv) and isinstance(theirs, SharedConv)
            ours.write_to(theirs)
        shared.projection.copy_(self.projection)
        shared.bias.copy_(self.bias)
        return shared


@torch.no_grad()
def measure_statistics(encoder: SlimmableEncoder, batches: Iterable[Tensor]) -> None:
    """Give every width the mean and variance of its convolutions' outputs, and switch to evaluation mode.

    batches: images (N, 3, H, W) float32 0..255, as trained on; each runs through every width. ConfigError if there
    are none.
    """
    encoder.train()
    moments = [[_Moments() for _ in encoder.layers] for _ in encoder.specs]
    for image in batches:
        for width, of_layers in enumerate(moments, start=1):
            encoder.trunk(image, _observed(encoder, width, of_layers))
    for width, of_layers in enumerate(moments, start=1):
        for layer, observed in zip(encoder.layers, of_layers, strict=True):
            assert isinstance(layer, SlimmableConv)
            n = layer.shapes[width - 1].channels_out
            layer.means[width - 1, :n], layer.variances[width - 1, :n] = observed.mean_and_variance()
    encoder.eval()


def _observed(encoder: SlimmableEncoder, width: int, of_layers: Sequence[_Moments]) -> Convolve:
    def convolve(i: int, x: Tensor) -> Tensor:
        layer = cast(SlimmableConv, encoder.layers[i])
        y = layer.convolve(x, width)
        of_layers[i].add(y)
        return layer.normalise(y, width)

    return convolve


class _Moments:
    """Sums over all positions of all images: a cumulative average, in which no batch is forgotten."""

    def __init__(self) -> None:
        self._count, self._sum, self._squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, x: Tensor) -> None:
        """Add values (N, C, H, W)."""
        values = x.double().transpose(0, 1).flatten(1)
        self._count += values.shape[1]
        self._sum = self._sum + values.sum(dim=1)
        self._squares = self._squares + values.square().sum(dim=1)

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        """Return both of each channel, (C,) float32. ConfigError if nothing was added."""
        if not self._count:
            raise ConfigError("no images to measure the statistics of the widths on")
        mean = self._sum / self._count
        return mean.float(), (self._squares / self._count - mean.square()).clamp(min=0).float()
