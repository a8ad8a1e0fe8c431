"""Two fronts whose latents are added: one sees the image at half its size, the second adds what that one lacks.

This is the form of the slimmable ensemble encoder (docs/design.md), y0 + y1, with members that both begin with the
detector's own stages. The first member alone is the narrow width: a front on a canvas of half the side. The second one
has a share of the stages' channels, and sees the whole canvas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.letterbox import LATENT_STRIDE
from splitnet.nn.decoder import DecoderSpec
from splitnet.nn.encoder.front import FrontSpec
from splitnet.nn.encoder.sliced_front import Slice
from splitnet.nn.encoder.spec import Encoder, check_width
from splitnet.nn.yolox.slices import sliced_stages


@dataclass(frozen=True)
class FrontEnsembleSpec(FrontSpec):
    """Shape of both members' fronts; the sides are those of the first member alone and of both."""

    kind: ClassVar[str] = "front-ensemble"

    sides: tuple[int, ...] = (208, 416)
    share: int = 50  # percent of the channels of the detector's own stages that the second member has

    def __post_init__(self) -> None:
        """Raise ConfigError on a size that no encoder has."""
        super().__post_init__()
        if len(self.sides) != 2 or self.sides[1] != 2 * self.sides[0]:
            raise ConfigError(f"encoder: the sides {list(self.sides)} must be two, the second twice the first")
        if not 1 <= self.share <= 100:
            raise ConfigError(f"encoder: the share is {self.share} percent, must be 1..100")

    def check(self, decoder: DecoderSpec | None, detector: str, split_point: str) -> None:
        """Raise ConfigError on what a front refuses, on a detector that is no YOLOX, and on a fraction of a channel."""
        super().check(decoder, detector, split_point)
        sliced_stages(detector, split_point, self.share)

    def make(self, detector: str, split_point: str) -> FrontEnsembleEncoder:
        """Return the encoder, its weights not set (`EncoderSpec`)."""
        return FrontEnsembleEncoder(self, detector, split_point)


class FrontEnsembleEncoder(Encoder):
    """Both members: what is trained, and what the device runs."""

    spec: FrontEnsembleSpec

    def __init__(self, spec: FrontEnsembleSpec, detector: str, split_point: str) -> None:
        super().__init__()
        self.spec = spec
        self.first = Slice(spec, detector, split_point, 100)
        self.second = Slice(spec, detector, split_point, spec.share)

    def forward(self, image: Tensor) -> Tensor:
        """Map BGR images (N, 3, H, W) float32 0..255 to the sum of both latents (N, L, H/16, W/16)."""
        added: Tensor = self.second(image)
        return self.coarse(image)[..., : added.shape[2], : added.shape[3]] + added

    def coarse(self, image: Tensor) -> Tensor:
        """Return what the first member says of images at half their size, at the places of the whole ones.

        Sides that are odd multiples of the latent's stride give a row or a column more.
        """
        below = LATENT_STRIDE  # so that none of the latent's cells of twice the side is cut off
        half = F.avg_pool2d(F.pad(image, (0, below, 0, below), mode="replicate"), 2)
        return F.interpolate(self.first(half), scale_factor=2, mode="nearest")

    def narrow(self, width: int) -> nn.Module:
        """Return the first member, or both: itself. ConfigError if there is no such width."""
        check_width(width, self.spec.widths)
        return self.first if width == 1 else self
