"""The decoder: rebuilds the features at the split point from the latent. Runs on the server."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.letterbox import LATENT_STRIDE
from splitnet.nn.architectures import STRIDES, architecture_of


@dataclass(frozen=True)
class DecoderSpec:
    """Shape of the decoder."""

    channels: int = 192  # at the latent's stride
    blocks: int = 4  # residual blocks there
    branch_channels: int = 96  # at a feature's own, finer stride
    branch_blocks: int = 2

    def __post_init__(self) -> None:
        """Raise ConfigError on a size that is not positive or absurdly large."""
        for name, value in vars(self).items():
            if not 1 <= value <= 4096:
                raise ConfigError(f"decoder: {name} is {value}, must be 1..4096")


class ResidualBlock(nn.Module):
    """3x3 depthwise, then two pointwise convolutions around SiLU, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.expand = nn.Conv2d(channels, 2 * channels, 1)
        self.act = nn.SiLU(inplace=True)
        self.contract = nn.Conv2d(2 * channels, channels, 1)
        nn.init.zeros_(self.contract.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        y: Tensor = x + self.contract(self.act(self.expand(self.depthwise(x))))
        return y


class Decoder(nn.Module):
    """A trunk at the latent's stride and one branch for each feature that the rest of the detector reads.

    linear: beside each branch a linear transform of the latent's patches, the counterpart of an encoder that has one.
    """

    def __init__(
        self, spec: DecoderSpec, latent_channels: int, detector: str, split_point: str, linear: bool = False
    ) -> None:
        super().__init__()
        blocks = (ResidualBlock(spec.channels) for _ in range(spec.blocks))
        self.trunk = nn.Sequential(
            nn.Conv2d(latent_channels, spec.channels, 3, padding=1), nn.SiLU(inplace=True), *blocks
        )
        stages = architecture_of(detector).features_at(split_point)
        self.branches = nn.ModuleDict({stage: _branch(spec, detector, stage, not linear) for stage in stages})
        if linear:
            for branch in self.branches.values():  # the linear transform begins alone
                _silence(branch)
        self.linear = nn.ModuleDict({s: _back(latent_channels, detector, s) for s in stages} if linear else {})

    def forward(self, latent: Tensor) -> dict[str, Tensor]:
        """Map the dequantised latent (N, C, S/16, S/16) to features by stage name."""
        x = self.trunk(latent)
        found = {stage: branch(x) for stage, branch in self.branches.items()}
        return {s: found[s] + self.linear[s](latent) for s in found} if len(self.linear) else found


def _silence(branch: nn.Module) -> None:
    assert isinstance(branch, nn.Sequential)
    for parameter in branch[-1].parameters():
        nn.init.zeros_(parameter)


def _back(latent_channels: int, detector: str, stage: str) -> nn.ConvTranspose2d:
    side = LATENT_STRIDE // STRIDES[stage]
    return nn.ConvTranspose2d(latent_channels, architecture_of(detector).channels(detector, stage), side, stride=side)


def _branch(spec: DecoderSpec, detector: str, stage: str, activation: bool) -> nn.Sequential:
    """Return what goes from the trunk to one stage's features."""
    architecture = architecture_of(detector)
    stride, channels = LATENT_STRIDE, spec.channels
    layers: list[nn.Module] = []
    while stride > STRIDES[stage]:
        layers += [nn.Conv2d(channels, 4 * spec.branch_channels, 1), nn.PixelShuffle(2)]
        stride, channels = stride // 2, spec.branch_channels
    layers += [ResidualBlock(channels) for _ in range(spec.branch_blocks)]
    layers.append(nn.Conv2d(channels, architecture.channels(detector, stage), 1))
    # As the detector's own stages end: what no stage can say, the decoder cannot say either.
    if activation and math.isfinite(architecture.floor):
        layers.append(nn.SiLU(inplace=True))
    return nn.Sequential(*layers)
