"""A front whose widths are slices of the detector's own stages as well as sizes of the canvas.

The channels of the stages are ordered by importance, and the leading ones are a narrower network, as in a slimmable one
(Yu and Huang, arXiv 1903.05134). The convolutions exist once. For each share there are a scale and a shift of every
channel, which stand for the statistics of that share, and an analysis of its own. How it begins and is trained:
`training.distillation.slices`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from splitnet.errors import ConfigError
from splitnet.nn.architectures import architecture_of
from splitnet.nn.decoder import DecoderSpec
from splitnet.nn.encoder.front import Analysis, FrontSpec, check_single
from splitnet.nn.encoder.projection import patch_side
from splitnet.nn.encoder.slimmable import check_shares
from splitnet.nn.encoder.spec import Encoder, check_width
from splitnet.nn.yolox.slices import leading_weights, sliced_stages


@dataclass(frozen=True)
class SlicedFrontSpec(FrontSpec):
    """Shape of a front, and which shares of its channels it can run with. Widths: every share at every side."""

    kind: ClassVar[str] = "sliced-front"

    shares: tuple[int, ...] = (50, 75, 100)  # percent of the channels of the detector's own stages

    def __post_init__(self) -> None:
        """Raise ConfigError on a size or a share that no encoder has."""
        super().__post_init__()
        check_shares(self.shares)
        if list(self.shares) != sorted(set(self.shares)):
            raise ConfigError(f"encoder: the shares {list(self.shares)} of the channels must rise")

    @property
    def widths(self) -> int:
        """Number of widths."""
        return len(self.sides) * len(self.shares)

    def canvas_sides(self, input_size: int) -> tuple[int, ...]:
        """Return the side of each width: all shares at the first side come first."""
        return tuple(side for side in self.sides for _ in self.shares)

    def share_index(self, width: int) -> int:
        """Return which of the shares a width, from 1, has. ConfigError if there is no such width."""
        check_width(width, self.widths)
        return (width - 1) % len(self.shares)

    def check(self, decoder: DecoderSpec | None, detector: str, split_point: str) -> None:
        """Raise ConfigError on what a front refuses, on a detector that is no YOLOX, and on a fraction of a channel."""
        super().check(decoder, detector, split_point)
        for share in self.shares:
            sliced_stages(detector, split_point, share)

    def make(self, detector: str, split_point: str) -> SlicedFrontEncoder:
        """Return the encoder, its weights not set (`EncoderSpec`)."""
        return SlicedFrontEncoder(self, detector, split_point)


class Slice(nn.Module):
    """Some of the channels of a detector's stages, and an analysis of what they say: a plain network."""

    def __init__(self, spec: FrontSpec, detector: str, split_point: str, share: int) -> None:
        super().__init__()
        check_single(detector, split_point)
        self.stages = sliced_stages(detector, split_point, share)
        channels = architecture_of(detector).channels(detector, split_point) * share // 100
        self.analysis = Analysis(spec, channels, patch_side(split_point))

    def forward(self, image: Tensor) -> Tensor:
        """Map BGR images (N, 3, H, W) float32 0..255 to the latent (N, L, H/16, W/16)."""
        return cast(Tensor, self.analysis(self.stages(image)))


class SlicedFrontEncoder(Encoder):
    """The whole stages, what each share does to their channels, and its analysis."""

    spec: SlicedFrontSpec

    def __init__(self, spec: SlicedFrontSpec, detector: str, split_point: str) -> None:
        super().__init__()
        self.spec = spec
        self.stages = sliced_stages(detector, split_point, 100)
        slices = [Slice(spec, detector, split_point, share) for share in spec.shares]
        self.analyses = nn.ModuleList(copy.deepcopy(one.analysis) for one in slices)
        self._slices = tuple(slices)  # a tuple: their weights are none of this network's
        self.convolutions = tuple(n for n, conv in self.stages.named_modules() if isinstance(conv, nn.Conv2d))
        channels = [cast(nn.Conv2d, self.stages.get_submodule(name)).out_channels for name in self.convolutions]
        self.scales = nn.ParameterList(torch.ones(len(slices), count) for count in channels)
        self.shifts = nn.ParameterList(torch.zeros(len(slices), count) for count in channels)

    def forward(self, image: Tensor) -> Tensor:
        """Map BGR images (N, 3, H, W) float32 0..255 to the latent (N, L, H/16, W/16) of all channels."""
        return self.latent(image, len(self.spec.shares) - 1)

    def latent(self, image: Tensor, share: int) -> Tensor:
        """Map images as `forward` does, with the share of an index."""
        features = functional_call(self._slices[share].stages, self.slice_weights(share), (image,))
        return cast(Tensor, self.analyses[share](features))

    def slice_weights(self, share: int) -> dict[str, Tensor]:
        """Return the weights, by name, of the stages with the share of an index; gradients flow through them."""
        sizes = {name: value.shape for name, value in self._slices[share].stages.named_parameters()}
        weights = leading_weights(dict(self.stages.named_parameters()), sizes)
        for i, name in enumerate(self.convolutions):
            count = len(weights[f"{name}.bias"])
            scale, shift = self.scales[i][share, :count], self.shifts[i][share, :count]
            weights[f"{name}.weight"] = weights[f"{name}.weight"] * scale[:, None, None, None]
            weights[f"{name}.bias"] = weights[f"{name}.bias"] * scale + shift
        return weights

    def narrow(self, width: int) -> Slice:
        """Return the plain network of a width, which those of the same share have in common.

        ConfigError if there is no such width.
        """
        return self.slice(self.spec.share_index(width))

    @torch.no_grad()
    def slice(self, share: int) -> Slice:
        """Return the plain network of a share by its index, with the weights that it has now."""
        network = self._slices[share]
        network.stages.load_state_dict(self.slice_weights(share))
        network.analysis.load_state_dict(self.analyses[share].state_dict())
        return network.requires_grad_(False).eval()
