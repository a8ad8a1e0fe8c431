"""An encoder that begins with the detector's own first stages.

A linear transform of their features, patch by patch, carries what principal components would; a residual network beside
it learns the rest. The decoder mirrors both (`splitnet.nn.decoder`). Its widths are sizes of the canvas: one network,
which a smaller picture makes cheaper with the square of its side. The rest of the detector's square is grey then, which
is what a latent of zeros says: server and decoder know nothing of widths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch.nn.functional as F
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.letterbox import LATENT_STRIDE
from splitnet.nn.architectures import architecture_of
from splitnet.nn.decoder import DecoderSpec
from splitnet.nn.detector import Detector
from splitnet.nn.encoder.projection import patch_side
from splitnet.nn.encoder.spec import Encoder, EncoderSpec, check_width


@dataclass(frozen=True)
class FrontSpec(EncoderSpec):
    """Shape of what follows the detector's own stages, and the squares that frames are fitted into."""

    kind: ClassVar[str] = "front"
    has_linear_path: ClassVar[bool] = True

    sides: tuple[int, ...] = (208, 256, 320, 416)  # pixels, one for each width; the last is the detector's own
    latent_channels: int = 96
    # Of the residual network, at the latent's stride. 0: it works on the latent itself, for half of the computation.
    channels: int = 96
    blocks: int = 2
    stretches: bool = False  # frames fill the canvas, as the detector was trained; else they are letterboxed

    def __post_init__(self) -> None:
        """Raise ConfigError on a size that no encoder has."""
        for name, least in (("latent_channels", 1), ("channels", 0), ("blocks", 1)):
            if not least <= getattr(self, name) <= 1024:
                raise ConfigError(f"encoder: {name} is {getattr(self, name)}, must be {least}..1024")
        if not self.sides or list(self.sides) != sorted(set(self.sides)):
            raise ConfigError(f"encoder: the sides {list(self.sides)} must rise")
        if any(side < LATENT_STRIDE or side % LATENT_STRIDE for side in self.sides):
            raise ConfigError(f"encoder: the sides {list(self.sides)} must be multiples of {LATENT_STRIDE}")

    @property
    def widths(self) -> int:
        """Number of widths."""
        return len(self.sides)

    def canvas_sides(self, input_size: int) -> tuple[int, ...]:
        """Return the sides, one for each width."""
        return self.sides

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FrontSpec:
        """Return the spec that a manifest states (`EncoderSpec`); those of before say nothing of stretching."""
        return super().from_json({"stretches": False, **values})

    def to_json(self) -> dict[str, Any]:
        """Return the spec as plain JSON values (`EncoderSpec`), as before if it does not stretch."""
        values = super().to_json()
        if not self.stretches:
            del values["stretches"]
        return values

    def check(self, decoder: DecoderSpec | None, detector: str, split_point: str) -> None:
        """Raise ConfigError if more than one tensor must be sent, besides what every kind refuses."""
        super().check(decoder, detector, split_point)
        check_single(detector, split_point)

    def make(self, detector: str, split_point: str) -> Encoder:
        """Return the encoder, its weights not set (`EncoderSpec`)."""
        return FrontEncoder(self, detector, split_point)


class AnalysisBlock(nn.Module):
    """3x3 depthwise, rectifier, pointwise, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return x + cast(Tensor, self.pointwise(F.relu(self.depthwise(x))))


class Analysis(nn.Module):
    """Features at the split point to the latent: a linear transform of patches and a residual network, added up."""

    def __init__(self, spec: FrontSpec, channels_in: int, side: int) -> None:
        super().__init__()
        self.linear = nn.Conv2d(channels_in, spec.latent_channels, side, stride=side)
        self.is_light = not spec.channels
        if self.is_light:
            self.blocks = nn.Sequential(*(_still(AnalysisBlock(spec.latent_channels)) for _ in range(spec.blocks)))
            return
        self.reduce = nn.Conv2d(channels_in, spec.channels, side, stride=side)
        self.blocks = nn.Sequential(*(AnalysisBlock(spec.channels) for _ in range(spec.blocks)))
        self.out = nn.Conv2d(spec.channels, spec.latent_channels, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (N, C, h, w) to the latent (N, L, h/side, w/side)."""
        if self.is_light:
            return cast(Tensor, self.blocks(self.linear(features)))
        x = self.blocks(self.reduce(features))
        return cast(Tensor, self.linear(features) + self.out(F.relu(x)))


def _still(block: AnalysisBlock) -> AnalysisBlock:
    """Return a block that begins by adding nothing."""
    nn.init.zeros_(block.pointwise.weight)
    assert block.pointwise.bias is not None
    nn.init.zeros_(block.pointwise.bias)
    return block


class FrontEncoder(Encoder):
    """The detector's stages up to the split point, and the analysis: what is trained, and what the device runs."""

    spec: FrontSpec

    def __init__(self, spec: FrontSpec, detector: str, split_point: str) -> None:
        super().__init__()
        check_single(detector, split_point)
        architecture = architecture_of(detector)
        self.spec = spec
        stages = architecture.stages_to(detector, split_point)
        self.stages = nn.ModuleDict({name: architecture.simplified(stage) for name, stage in stages.items()})
        self.analysis = Analysis(spec, architecture.channels(detector, split_point), patch_side(split_point))

    def forward(self, image: Tensor) -> Tensor:
        """Map BGR pictures (N, 3, H, W) float32 0..255 to the latent (N, L, H/16, W/16)."""
        return cast(Tensor, self.analysis(self.features(image)))

    def features(self, image: Tensor) -> Tensor:
        """Map pictures to the detector's own features at the split point."""
        x = image
        for stage in self.stages.values():
            x = stage(x)
        return x

    def take_stages(self, detector: Detector) -> None:
        """Give the stages the weights of a whole, fused detector of the same name."""
        for name, stage in self.stages.items():
            architecture = architecture_of(detector.name)
            stage.load_state_dict(architecture.simplified(architecture.stage_of(detector, name)).state_dict())

    def narrow(self, width: int) -> FrontEncoder:
        """Return itself: a width is a size of the canvas. ConfigError on one that is not there."""
        check_width(width, self.spec.widths)
        return self


def check_single(detector: str, split_point: str) -> None:
    """Raise ConfigError if more than one tensor must be sent at a split point of a detector."""
    architecture = architecture_of(detector)
    if architecture.features_at(split_point) != (split_point,):
        *most, last = (s for s in architecture.split_points if architecture.features_at(s) == (s,))
        raise ConfigError(f"a split at {split_point} sends more than one tensor: choose {', '.join(most)} or {last}")
