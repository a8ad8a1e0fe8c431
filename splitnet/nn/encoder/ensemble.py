"""The slimmable ensemble encoder: members share the input, width is how many of them are active.

All members run as one grouped network, member by member along the channels, so that a narrower network is
the leading slice of every weight. The latent is the sum of the members' outputs; later members refine.
(The idea of the ensemble: SEE, section 2 of the design's references; the networks here are our own.)

`EnsembleEncoder` is for training. `PlainEncoder` is what runs: batch normalisation and input scaling
folded, one dense last convolution that sums the members.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Protocol, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.nn.blocks import fold_batch_norm
from splitnet.nn.encoder.spec import Encoder, EncoderSpec, check_width

V = TypeVar("V", bound="_Addable")
PIXEL_MEAN = 114.0  # grey of the padding, so that padding becomes zero
PIXEL_SCALE = 1.0 / 64.0
MAX_PARAMETERS = 20_000_000  # dozens of times a useful encoder: what bounds the memory that a manifest can ask for


class _Addable(Protocol):
    """What a residual stream is made of: tensors, or values of a graph that is being built."""

    def __add__(self: V, other: V, /) -> V: ...


@dataclass(frozen=True)
class EnsembleSpec(EncoderSpec):
    """Shape of the ensemble. Channels are per member."""

    kind: ClassVar[str] = "ensemble"

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
        if self.parameters > MAX_PARAMETERS:
            raise ConfigError(f"encoder: {self.parameters} weights, must be at most {MAX_PARAMETERS}")

    @property
    def widths(self) -> int:
        """Number of widths: each has one member more."""
        return self.members

    def make(self, detector: str, split_point: str) -> PlainEncoder:
        """Return the network of all members (`EncoderSpec`)."""
        return PlainEncoder(self, self.members)

    def to_json(self) -> dict[str, Any]:
        """Return the sizes; the kind is not named, since it is the one from before there were others."""
        return asdict(self)

    @property
    def parameters(self) -> int:
        """Weights and biases of all members, normalisation folded."""
        convolutions = sum(shape.channels_out * (shape.fan_in * shape.kernel**2 + 1) for shape in conv_shapes(self))
        return self.members * (convolutions + self.latent_channels * (self.channels + 1))


@dataclass(frozen=True)
class ConvShape:
    """One convolution of every member. Channels are per member."""

    channels_in: int
    channels_out: int
    kernel: int = 1
    stride: int = 1
    depthwise: bool = False  # one filter a channel
    shared_input: bool = False  # every member reads the same channels: the stem

    @property
    def padding(self) -> int:
        """Pixels of zero padding: depthwise convolutions keep the size, the others need none."""
        return self.kernel // 2 if self.depthwise else 0

    @property
    def fan_in(self) -> int:
        """Input channels that one output channel reads."""
        return 1 if self.depthwise else self.channels_in

    def groups(self, width: int) -> int:
        """Return the convolution's groups with `width` active members."""
        if self.shared_input:
            return 1
        return width * self.channels_out if self.depthwise else width

    def plain(self, width: int) -> nn.Conv2d:
        """Return a convolution of this shape for `width` members, its weights not set."""
        groups = self.groups(width)
        channels_out = width * self.channels_out
        return nn.Conv2d(self.fan_in * groups, channels_out, self.kernel, self.stride, self.padding, groups=groups)


def conv_shapes(spec: EnsembleSpec) -> list[ConvShape]:
    """Return the convolutions in order: stem, two reductions (depthwise, pointwise), then the residual blocks."""
    shapes = [ConvShape(3, spec.stem_channels, kernel=4, stride=4, shared_input=True)]
    for narrow, wide in ((spec.stem_channels, spec.mid_channels), (spec.mid_channels, spec.channels)):
        shapes += [ConvShape(narrow, narrow, 3, stride=2, depthwise=True), ConvShape(narrow, wide)]
    for _ in range(spec.blocks):
        shapes += [ConvShape(spec.channels, spec.channels, 3, depthwise=True), ConvShape(spec.channels, spec.channels)]
    return shapes


class GroupedConv(nn.Module):
    """A convolution of all members at once, followed by batch normalisation."""

    def __init__(self, shape: ConvShape, members: int) -> None:
        super().__init__()
        self.shape, self.members = shape, members
        channels_out = members * shape.channels_out
        self.weight = nn.Parameter(torch.empty(channels_out, shape.fan_in, shape.kernel, shape.kernel))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        self.bn = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor, width: int) -> Tensor:
        """Map (N, width * C_in, H, W) to (N, width * C_out, H/stride, W/stride)."""
        n, shape, bn = width * self.shape.channels_out, self.shape, self.bn
        x = F.conv2d(x, self.weight[:n], None, shape.stride, shape.padding, groups=shape.groups(width))
        assert bn.running_mean is not None and bn.running_var is not None
        return F.batch_norm(
            x, bn.running_mean[:n], bn.running_var[:n], bn.weight[:n], bn.bias[:n], bn.training, 0.03, bn.eps
        )

    @torch.no_grad()
    def folded(self) -> nn.Conv2d:
        """Return a plain convolution of all members with the running statistics folded in."""
        conv = self.shape.plain(self.members)
        conv.weight.copy_(self.weight)
        assert conv.bias is not None
        conv.bias.zero_()
        return fold_batch_norm(conv, self.bn)


class EnsembleEncoder(nn.Module):
    """The ensemble as it is trained; any width runs from the same weights."""

    def __init__(self, spec: EnsembleSpec) -> None:
        super().__init__()
        self.spec = spec
        self.layers = nn.ModuleList(GroupedConv(shape, spec.members) for shape in conv_shapes(spec))
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

        def conv(i: int, x: Tensor) -> Tensor:
            y: Tensor = self.layers[i](x, width)
            return y

        x = trunk(len(self.layers), (image - PIXEL_MEAN) * PIXEL_SCALE, conv, F.relu)
        members = x.unflatten(1, (width, self.spec.channels))
        return torch.einsum("kcd,nkdhw->nkchw", self.projection[:width], members).cumsum(dim=1)

    @torch.no_grad()
    def materialise(self, width: int) -> PlainEncoder:
        """Return the plain network of a width, everything folded, in evaluation mode."""
        full = PlainEncoder(self.spec, self.spec.members)
        for i, layer in enumerate(self.layers):
            assert isinstance(layer, GroupedConv)
            full.layers[i] = layer.folded()
        fold_input_scaling(full.layers[0])
        full.projection.weight.copy_(self.projection.permute(1, 0, 2).flatten(1)[:, :, None, None])
        full.width_bias.copy_(self.bias)
        return full.narrow(width)


def trunk(convolutions: int, x: V, conv: Callable[[int, V], V], relu: Callable[[V], V]) -> V:
    """Run stem, reductions and residual blocks on anything that can be convolved, rectified and added up.

    conv: the i-th of so many convolutions. The activation stands between depthwise and pointwise; what is added up
    stays linear (measured; docs/training.md).
    """
    x = relu(conv(0, x))
    for i in (1, 3):
        x = conv(i + 1, relu(conv(i, x)))
    for i in range(5, convolutions, 2):
        x = x + conv(i + 1, relu(conv(i, x)))
    return x


def fold_input_scaling(stem: nn.Module) -> None:
    """Make the stem read raw pixels. Exact, since the stem has no padding."""
    assert isinstance(stem, nn.Conv2d) and stem.bias is not None
    stem.weight.mul_(PIXEL_SCALE)
    stem.bias.sub_(stem.weight.sum(dim=(1, 2, 3)) * PIXEL_MEAN)


class PlainEncoder(Encoder):
    """One width as a plain network of convolutions: what the device runs."""

    spec: EnsembleSpec
    width_bias: Tensor

    def __init__(self, spec: EnsembleSpec, width: int) -> None:
        super().__init__()
        check_width(width, spec.members)
        self.spec, self.width = spec, width
        self.layers = nn.ModuleList(shape.plain(width) for shape in conv_shapes(spec))
        self.projection = nn.Conv2d(width * spec.channels, spec.latent_channels, 1)
        self.register_buffer("width_bias", torch.zeros(spec.members, spec.latent_channels))
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Map BGR pictures (N, 3, H, W) float32 0..255 to the latent (N, C, H/16, W/16)."""
        # In place: new memory for what a stem puts out costs as much time as some of the convolutions.
        x = trunk(len(self.layers), image, lambda i, x: cast(Tensor, self.layers[i](x)), F.relu_)
        return cast(Tensor, self.projection(x))

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
