"""The slimmable ensemble encoder: members share the input, width is how many of them are active.

All members run as one grouped network, member by member along the channels, so that a narrower network is
the leading slice of every weight. The latent is the sum of the members' outputs; later members refine.
(The idea of the ensemble: SEE, section 2 of the design's references; the networks here are our own.)

`EnsembleEncoder` is for training. `PlainEncoder` is what runs: batch normalisation and input scaling
folded, one dense last convolution that sums the members.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.letterbox import LATENT_STRIDE

PIXEL_MEAN = 114.0  # grey of the padding, so that padding becomes zero
PIXEL_SCALE = 1.0 / 64.0


@dataclass(frozen=True)
class EncoderSpec:
    """Shape of the ensemble. Channels are per member."""

    members: int = 4
    stem_channels: int = 24  # at stride 4
    mid_channels: int = 48  # at stride 8
    channels: int = 80  # at stride 16
    blocks: int = 5  # residual blocks at stride 16
    latent_channels: int = 48

    def __post_init__(self) -> None:
        """Raise ConfigError on a size that is not positive or absurdly large."""
        for name, value in vars(self).items():
            if not 1 <= value <= 1024:
                raise ConfigError(f"encoder: {name} is {value}, must be 1..1024")


class GroupedConv(nn.Module):
    """A convolution of all members at once, followed by batch normalisation.

    shared_input: every member reads the same channels (the stem). depthwise: 3x3, one filter a channel.
    """

    def __init__(
        self,
        members: int,
        channels_in: int,
        channels_out: int,
        kernel: int = 1,
        stride: int = 1,
        depthwise: bool = False,
        shared_input: bool = False,
    ) -> None:
        super().__init__()
        fan_in = 1 if depthwise else channels_in
        self.weight = nn.Parameter(torch.empty(members * channels_out, fan_in, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.bn = nn.BatchNorm2d(members * channels_out)
        self.channels_out, self.depthwise, self.shared_input = channels_out, depthwise, shared_input
        self.stride, self.padding = stride, 1 if depthwise else 0

    def groups(self, width: int) -> int:
        """Return the convolution's groups with `width` active members."""
        if self.shared_input:
            return 1
        return width * self.channels_out if self.depthwise else width

    def forward(self, x: Tensor, width: int) -> Tensor:
        """Map (N, width * C_in, H, W) to (N, width * C_out, H/stride, W/stride)."""
        n = width * self.channels_out
        x = F.conv2d(x, self.weight[:n], None, self.stride, self.padding, groups=self.groups(width))
        bn = self.bn
        assert bn.running_mean is not None and bn.running_var is not None
        return F.batch_norm(
            x, bn.running_mean[:n], bn.running_var[:n], bn.weight[:n], bn.bias[:n], bn.training, 0.03, bn.eps
        )

    @torch.no_grad()
    def folded(self, members: int) -> nn.Conv2d:
        """Return a plain convolution with the running statistics folded in."""
        bn = self.bn
        assert bn.running_mean is not None and bn.running_var is not None
        scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
        conv = self.plain(members)
        assert conv.bias is not None
        conv.weight.copy_(self.weight * scale[:, None, None, None])
        conv.bias.copy_(bn.bias - bn.running_mean * scale)
        return conv

    def plain(self, width: int) -> nn.Conv2d:
        """Return a convolution of this shape for `width` members, weights not set."""
        fan_in, groups = self.weight.shape[1], self.groups(width)
        return nn.Conv2d(
            fan_in * groups,
            width * self.channels_out,
            self.weight.shape[2],
            self.stride,
            self.padding,
            groups=groups,
        )


def _layers(spec: EncoderSpec) -> list[GroupedConv]:
    """Return the convolutions in order: stem, two that halve the size, then the residual blocks."""
    k, c = spec.members, spec.channels
    layers = [GroupedConv(k, 3, spec.stem_channels, kernel=4, stride=4, shared_input=True)]
    for narrow, wide in ((spec.stem_channels, spec.mid_channels), (spec.mid_channels, c)):
        layers.append(GroupedConv(k, narrow, narrow, kernel=3, stride=2, depthwise=True))
        layers.append(GroupedConv(k, narrow, wide))
    for _ in range(spec.blocks):
        layers.append(GroupedConv(k, c, c, kernel=3, depthwise=True))
        layers.append(GroupedConv(k, c, c))
    return layers


class EnsembleEncoder(nn.Module):
    """The ensemble as it is trained; any width runs from the same weights."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        self.spec = spec
        self.layers = nn.ModuleList(_layers(spec))
        self.projection = nn.Parameter(torch.empty(spec.members, spec.latent_channels, spec.channels))
        nn.init.normal_(self.projection, std=spec.channels**-0.5)
        # One bias a width: the sum of more members needs another centre.
        self.bias = nn.Parameter(torch.zeros(spec.members, spec.latent_channels))

    def forward(self, image: Tensor, width: int) -> Tensor:
        """Map BGR pictures (N, 3, H, W) float32 0..255 to the latent (N, C, H/16, W/16) of a width."""
        return self.partial_sums(image, width)[:, -1] + self.bias[width - 1][:, None, None]

    def latents(self, image: Tensor, widths: Tensor) -> Tensor:
        """Return the latent (N, C, H/16, W/16) at one width for each picture; widths (N,) int64, from 1."""
        sums = self.partial_sums(image, self.spec.members)
        rows = torch.arange(len(image), device=image.device)
        return sums[rows, widths - 1] + self.bias[widths - 1][:, :, None, None]

    def partial_sums(self, image: Tensor, width: int) -> Tensor:
        """Return the sums of the first 1..width members, (N, width, C, H/16, W/16)."""
        x = _trunk(self.layers, (image - PIXEL_MEAN) * PIXEL_SCALE, width)
        members = x.unflatten(1, (width, self.spec.channels))
        return torch.einsum("kcd,nkdhw->nkchw", self.projection[:width], members).cumsum(dim=1)

    @torch.no_grad()
    def materialise(self, width: int) -> PlainEncoder:
        """Return the plain network of a width, everything folded, in evaluation mode."""
        full = PlainEncoder(self.spec, self.spec.members)
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, GroupedConv)
            full.layers[i] = layer.folded(self.spec.members)
        _fold_input_scaling(full.layers[0])
        full.projection.weight.copy_(self.projection.permute(1, 0, 2).flatten(1)[:, :, None, None])
        full.width_bias.copy_(self.bias)
        return full.narrow(width)


def _trunk(layers: nn.ModuleList, x: Tensor, width: int | None) -> Tensor:
    """Run stem, reductions and residual blocks; width is None for plain convolutions."""

    def run(i: int, x: Tensor) -> Tensor:
        y: Tensor = layers[i](x) if width is None else layers[i](x, width)
        return y

    x = F.relu(run(0, x))
    for i in (1, 3):
        x = F.relu(run(i + 1, run(i, x)))
    for i in range(5, len(layers), 2):
        x = x + F.relu(run(i + 1, run(i, x)))
    return x


def _fold_input_scaling(stem: nn.Module) -> None:
    """Make the stem read raw pixels. Exact, since the stem has no padding."""
    assert isinstance(stem, nn.Conv2d) and stem.bias is not None
    stem.weight.mul_(PIXEL_SCALE)
    stem.bias.sub_(stem.weight.sum(dim=(1, 2, 3)) * PIXEL_MEAN)


class PlainEncoder(nn.Module):
    """One width as a plain network of convolutions: what the device runs."""

    width_bias: Tensor

    def __init__(self, spec: EncoderSpec, width: int) -> None:
        super().__init__()
        if not 1 <= width <= spec.members:
            raise ConfigError(f"width {width} is not in 1..{spec.members}")
        self.spec, self.width = spec, width
        with torch.device("meta"):
            shapes = _layers(spec)
        self.layers = nn.ModuleList(layer.plain(width) for layer in shapes)
        self.projection = nn.Conv2d(width * spec.channels, spec.latent_channels, 1)
        self.register_buffer("width_bias", torch.zeros(spec.members, spec.latent_channels))
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Map BGR pictures (N, 3, H, W) float32 0..255 to the latent (N, C, H/16, W/16)."""
        latent: Tensor = self.projection(_trunk(self.layers, image, None))
        return latent

    @torch.no_grad()
    def narrow(self, width: int) -> PlainEncoder:
        """Return the network of the leading `width` members, with weights of its own."""
        narrow = PlainEncoder(self.spec, width)
        for ours, theirs in zip(self.layers, narrow.layers, strict=True):
            assert isinstance(ours, nn.Conv2d) and isinstance(theirs, nn.Conv2d)
            assert ours.bias is not None and theirs.bias is not None
            theirs.weight.copy_(ours.weight[: theirs.out_channels])
            theirs.bias.copy_(ours.bias[: theirs.out_channels])
        narrow.projection.weight.copy_(self.projection.weight[:, : width * self.spec.channels])
        narrow.width_bias.copy_(self.width_bias)
        assert narrow.projection.bias is not None
        narrow.projection.bias.copy_(self.width_bias[width - 1])
        return narrow


def latent_shape(spec: EncoderSpec, canvas_height: int, canvas_width: int) -> tuple[int, int, int]:
    """Return (C, H, W) of the latent of a canvas in pixels."""
    return spec.latent_channels, canvas_height // LATENT_STRIDE, canvas_width // LATENT_STRIDE
