"""The slimmable encoder: one dense trunk whose leading channels are a narrower one (Yu and Huang, arXiv 1903.05134).

A width is a share of the channels. All widths have the same convolutions and differ in the normalisation behind them:
fewer channels in give other means and variances out. A bundle holds the convolutions once, and for each width what its
normalisation does: a scale and a shift for each channel. What runs is a `PlainEncoder` for each width, as if that width
had been trained alone. How it is trained: `training.distillation.slimmable`.

The latent can be sliced with the encoder (`latent_shares`), or by quality alone (gains that are zero); so one training
trades off computation, bytes and accuracy (the idea: arXiv 2105.00591).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.nn.encoder.ensemble import (
    MAX_PARAMETERS,
    ConvShape,
    EnsembleSpec,
    PlainEncoder,
    conv_shapes,
    fold_input_scaling,
)
from splitnet.nn.encoder.spec import Encoder, EncoderSpec, check_width

CHANNEL_STEP = 8  # the trunk's channels are multiples of it: what vector units like
MAX_CHANNELS, MAX_SHARES = 1024, 64


@dataclass(frozen=True)
class SlimmableSpec(EncoderSpec):
    """Shape of the full width, and which shares of it the widths are. The usual ones cost what an ensemble's do."""

    kind: ClassVar[str] = "slimmable"

    shares: tuple[int, ...] = (43, 66, 82, 100)  # percent of the channels, one for each width
    latent_shares: tuple[int, ...] = ()  # percent of the latent's channels that each width fills; (): all of them
    quality_shares: tuple[int, ...] = ()  # percent of them that each trained quality sends; (): all of them
    stem_channels: int = 56  # at stride 4
    mid_channels: int = 104  # at stride 8
    channels: int = 184  # at stride 16
    blocks: int = 5  # residual blocks at stride 16
    latent_channels: int = 48

    def __post_init__(self) -> None:
        """Raise ConfigError on a size or a share that no encoder has."""
        for shares in (self.shares, self.latent_shares or (100,), self.quality_shares or (100,)):
            check_shares(shares)
        if list(self.shares) != sorted(set(self.shares)):
            raise ConfigError(f"encoder: the shares {list(self.shares)} of the channels must rise")
        if len(self.latent_shares) not in (0, self.widths):
            raise ConfigError(f"encoder: {len(self.latent_shares)} shares of the latent for {self.widths} widths")
        for name in ("stem_channels", "mid_channels", "channels"):
            value = getattr(self, name)
            if value % CHANNEL_STEP or not CHANNEL_STEP <= value <= MAX_CHANNELS:
                allowed = f"a multiple of {CHANNEL_STEP} up to {MAX_CHANNELS}"
                raise ConfigError(f"encoder: {name} is {value}, must be {allowed}")
        parameters = sum(self.at(width).parameters for width in range(1, self.widths + 1))
        if parameters > MAX_PARAMETERS:
            raise ConfigError(f"encoder: {parameters} weights in all widths, must be at most {MAX_PARAMETERS}")

    @property
    def widths(self) -> int:
        """Number of widths."""
        return len(self.shares)

    def make(self, detector: str, split_point: str) -> SharedEncoder:
        """Return the encoder, its weights not set (`EncoderSpec`)."""
        return SharedEncoder(self)

    def at(self, width: int) -> EnsembleSpec:
        """Return the shape of a width as a network of its own, an ensemble of one; ConfigError if there is none."""
        check_width(width, self.widths)
        share = self.shares[width - 1]
        stem, middle, last = (_rounded(c, share) for c in (self.stem_channels, self.mid_channels, self.channels))
        latent_share = self.latent_shares[width - 1] if self.latent_shares else 100
        return EnsembleSpec(1, stem, middle, last, self.blocks, leading(self.latent_channels, latent_share))

    def alone(self, width: int) -> SlimmableSpec:
        """Return the spec of an encoder that has one width, like this one's; ConfigError if there is none."""
        one = self.at(width)
        sizes = {name: getattr(one, name) for name in ("stem_channels", "mid_channels", "channels", "latent_channels")}
        return replace(self, shares=(100,), latent_shares=(), quality_shares=(), **sizes)


def check_shares(shares: Sequence[int]) -> None:
    """Raise ConfigError unless shares are some percentages whose last one is the whole."""
    if not shares or len(shares) > MAX_SHARES or shares[-1] != 100 or any(not 1 <= share <= 100 for share in shares):
        raise ConfigError(
            f"encoder: the shares {list(shares[:8])} must be percentages, at most {MAX_SHARES}, the last one 100"
        )


def leading(channels: int, share: int) -> int:
    """Return how many leading channels a share, in percent, is; rounded up."""
    return -(-channels * share // 100)


def _rounded(channels: int, share: int) -> int:
    """Return the multiple of CHANNEL_STEP nearest to a share, in percent, of channels; at least one step."""
    return CHANNEL_STEP * max(1, (2 * share * channels + 100 * CHANNEL_STEP) // (200 * CHANNEL_STEP))


class SharedConv(nn.Module):
    """A convolution's weights, and for each width a scale and a shift, both (widths, C_out), of what it puts out.

    What a width says of channels that it does not have means nothing.
    """

    def __init__(self, shape: ConvShape, widths: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape.channels_out, shape.fan_in, shape.kernel, shape.kernel))
        self.scale = nn.Parameter(torch.ones(widths, shape.channels_out))
        self.shift = nn.Parameter(torch.zeros(widths, shape.channels_out))

    @torch.no_grad()
    def write_to(self, conv: nn.Conv2d, width: int) -> None:
        """Give a plain convolution its weights at a width, its size."""
        n, fan_in = conv.weight.shape[:2]
        assert conv.bias is not None
        conv.weight.copy_(self.weight[:n, :fan_in] * self.scale[width - 1, :n, None, None, None])
        conv.bias.copy_(self.shift[width - 1, :n])


class SharedEncoder(Encoder):
    """All widths as a bundle holds them. It does not run; a width of it does."""

    spec: SlimmableSpec

    def __init__(self, spec: SlimmableSpec) -> None:
        super().__init__()
        self.spec = spec
        self.layers = nn.ModuleList(SharedConv(shape, spec.widths) for shape in conv_shapes(spec.at(spec.widths)))
        self.projection = nn.Parameter(torch.zeros(spec.latent_channels, spec.channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(spec.widths, spec.latent_channels))
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def narrow(self, width: int) -> nn.Module:
        """Return the plain network of a width, with weights of its own; ConfigError if there is no such width.

        It maps BGR pictures (N, 3, H, W) float32 0..255 to the latent (N, L, H/16, W/16).
        """
        spec = self.spec.at(width)
        plain = PlainEncoder(spec, 1)
        for ours, theirs in zip(self.layers, plain.layers, strict=True):
            assert isinstance(ours, SharedConv) and isinstance(theirs, nn.Conv2d)
            ours.write_to(theirs, width)
        fold_input_scaling(plain.layers[0])
        assert plain.projection.bias is not None
        plain.projection.weight.copy_(self.projection[: spec.latent_channels, : spec.channels])
        plain.projection.bias.copy_(self.bias[width - 1, : spec.latent_channels])
        missing = self.spec.latent_channels - spec.latent_channels
        return Padded(plain, missing) if missing else plain


class Padded(nn.Module):
    """A network of a width that fills the leading channels of the latent only: the others are zero."""

    def __init__(self, network: PlainEncoder, missing: int) -> None:
        super().__init__()
        self.network, self.missing = network, missing

    def forward(self, image: Tensor) -> Tensor:
        """Map pictures (N, 3, H, W) to the whole latent (N, L, H/16, W/16)."""
        return F.pad(self.network(image), (0, 0, 0, 0, 0, self.missing))
