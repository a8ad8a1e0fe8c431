"""A training-free encoder: the detector's own stages up to the split point, then one linear projection.

The latent is a projection of the features in patches. Each tensor has one channel more, which is 1 wherever there is an
image. The way back is linear too. By that channel it tells an image that looks like nothing in particular (the other
channels are zero) from the grey beside it (all are). Which projection is not decided here: any weights will do
(`training.cuts.components` makes them from principal components).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.letterbox import LATENT_STRIDE
from splitnet.nn.architectures import SPLIT_POINTS, STRIDES, architecture_of
from splitnet.nn.decoder import DecoderSpec
from splitnet.nn.encoder.spec import Encoder, EncoderSpec, check_width
from splitnet.nn.yolox.architecture import SILU_MIN

MAX_LATENT_CHANNELS = 8192


@dataclass(frozen=True)
class Patch:
    """How one tensor lies in the latent: each position of it holds side x side positions of the tensor."""

    channels: int  # of the tensor
    components: int  # of them that are kept, after a rotation
    side: int
    floor: float = SILU_MIN  # what no value of the tensor lies below

    @property
    def latent_channels(self) -> int:
        """Channels of the latent that belong to this tensor, the last being 1 wherever there is a picture."""
        return self.components * self.side**2 + 1


@dataclass(frozen=True)
class ProjectionSpec(EncoderSpec):
    """Shape of a training-free encoder; its decoder follows from it."""

    kind: ClassVar[str] = "front+pca"

    components: Mapping[str, int]  # kept of each tensor that the rest of the detector reads, by its stage

    def __post_init__(self) -> None:
        """Raise ConfigError on what no detector has."""
        odd = [name for name in self.components if name not in SPLIT_POINTS]
        if odd or not self.components:
            raise ConfigError(f"encoder: the components of {odd[0] if odd else 'nothing'} cannot be projected")
        for stage, count in self.components.items():
            if not 1 <= count <= 1024:
                raise ConfigError(f"encoder: {count} components of {stage}, must be 1..1024")
        if self.latent_channels > MAX_LATENT_CHANNELS:
            raise ConfigError(f"encoder: {self.latent_channels} latent channels, at most {MAX_LATENT_CHANNELS}")

    @property
    def widths(self) -> int:
        """Number of widths: the stages cannot be made narrower."""
        return 1

    @property
    def latent_channels(self) -> int:
        """Channels of the latent."""
        return sum(count * patch_side(stage) ** 2 + 1 for stage, count in self.components.items())

    def check(self, decoder: DecoderSpec | None, detector: str, split_point: str) -> None:
        """Raise ConfigError on any decoder, since it follows, and on tensors that are not the detector's."""
        if decoder is not None:
            raise ConfigError(f"the decoder of the kind {self.kind} follows from the encoder: none is to be stated")
        self.patches(detector, split_point)

    def make(self, detector: str, split_point: str) -> ProjectionEncoder:
        """Return the encoder, its weights not set (`EncoderSpec`)."""
        return ProjectionEncoder(self, detector, split_point)

    def make_decoder(self, decoder: DecoderSpec | None, detector: str, split_point: str) -> BackProjection:
        """Return the way back, its weights not set (`EncoderSpec`)."""
        return BackProjection(self.patches(detector, split_point))

    def patches(self, detector: str, split_point: str) -> dict[str, Patch]:
        """Return how each tensor lies in the latent, in order; ConfigError if the detector has no such tensors."""
        architecture = architecture_of(detector)
        stages = architecture.features_at(split_point)
        if set(stages) != set(self.components):
            raise ConfigError(f"encoder: a split at {split_point} needs the components of {', '.join(stages)}")
        found = {
            s: Patch(architecture.channels(detector, s), self.components[s], patch_side(s), architecture.floor)
            for s in stages
        }
        for stage, patch in found.items():
            if patch.components > patch.channels:
                raise ConfigError(f"encoder: {patch.components} components of {stage}, which has {patch.channels}")
        return found


def patch_side(stage: str) -> int:
    """Return the positions a side of a stage's features that make one of the latent."""
    return LATENT_STRIDE // STRIDES[stage]


class Projection(nn.Module):
    """Features by name to the latent: a convolution each whose kernel is its stride, so that patches do not overlap."""

    def __init__(self, patches: Mapping[str, Patch]) -> None:
        super().__init__()
        self.convs = nn.ModuleDict(
            {n: nn.Conv2d(p.channels, p.latent_channels, p.side, stride=p.side) for n, p in patches.items()}
        )

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Map features (N, C, h, w) by name to the latent (N, L, H, W)."""
        return torch.cat([conv(features[name]) for name, conv in self.convs.items()], dim=1)


class BackProjection(nn.Module):
    """The latent to features by name: a transposed convolution each, and what the detector cannot say cut off."""

    def __init__(self, patches: Mapping[str, Patch]) -> None:
        super().__init__()
        self.sizes = [patch.latent_channels for patch in patches.values()]
        self.floors = {name: patch.floor for name, patch in patches.items() if math.isfinite(patch.floor)}
        self.convs = nn.ModuleDict(
            {n: nn.ConvTranspose2d(p.latent_channels, p.channels, p.side, stride=p.side) for n, p in patches.items()}
        )

    def forward(self, latent: Tensor) -> dict[str, Tensor]:
        """Map the dequantised latent (N, L, H, W) to features (N, C, h, w) by name."""
        parts = latent.split(self.sizes, dim=1)
        found = {name: conv(x) for x, (name, conv) in zip(parts, self.convs.items(), strict=True)}
        return {name: x.clamp(min=self.floors[name]) if name in self.floors else x for name, x in found.items()}


class ProjectionEncoder(Encoder):
    """The stages of a detector up to the split point, fused, and their projection: what the device runs."""

    spec: ProjectionSpec

    def __init__(self, spec: ProjectionSpec, detector: str, split_point: str) -> None:
        super().__init__()
        self.spec = spec
        self.stages = architecture_of(detector).stages_to(detector, split_point)
        self.projection = Projection(spec.patches(detector, split_point))
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        """Map BGR pictures (N, 3, H, W) float32 0..255 to the latent (N, L, H/16, W/16)."""
        features: dict[str, Tensor] = {}
        x = image
        for name, stage in self.stages.items():
            x = features[name] = stage(x)
        latent: Tensor = self.projection(features)
        return latent

    def narrow(self, width: int) -> ProjectionEncoder:
        """Return itself: there is one width. ConfigError on another."""
        check_width(width, 1)
        return self
