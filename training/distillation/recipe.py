"""Recipes for each kind of encoder: rates of learning, prices of bits, and what is distilled when. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from splitnet.errors import ConfigError
from splitnet.nn.decoder import DecoderSpec
from splitnet.nn.nanodet.network import FAMILY as NANODETS

PRICE_RAMP = 0.5  # share of the steps in which bytes get to their full price
# Features first; necks and heads later. From random weights they stall from the start (measured; docs/training.md).
FEATURE_STAGE: Mapping[str, float] = {"dark3": 1.0, "dark4": 1.0}
ENSEMBLE_JOINT: Mapping[str, float] = {"dark3": 0.25, "dark4": 0.25, "p3": 0.7, "p4": 0.7, "p5": 0.7, "raw": 0.5}
FRONT_JOINT: Mapping[str, float] = {**ENSEMBLE_JOINT, "dark3": 0.5, "dark4": 0.5}


@dataclass(frozen=True)
class Recipe:
    """What changes over the steps of a distillation, by progress in 0..1."""

    # Price of a bit per pixel for each quality, fewest bytes first. Geometric: bytes then are too.
    prices: tuple[float, ...]
    matrix_rate: float  # learning rate of Muon, for the dense convolutions of encoder and decoder
    peak_rate: float  # of AdamW, for their other parameters
    linear_rate: float = 5e-4  # of AdamW, for what begins as principal components
    front_rate: float = 5e-5  # of the pretrained stages on the device, if they are trained at all
    tail_rate: float = 2e-5  # of the pretrained rest of the detector; higher ones lose what it knew
    tail_from: float = 0.0  # from here on the rest of the detector is trained, too, if its outputs are distilled
    joint_from: float = 0.0  # from here on the whole server half is trained and its outputs are distilled
    first_price: float = 1.0  # share of the price in the beginning, so that the latent learns to say something
    joint_weights: Mapping[str, float] = field(default_factory=lambda: FRONT_JOINT)
    decoder: DecoderSpec = field(default_factory=DecoderSpec)
    # A front begins with: of the coarsest and the finest quality, in standard deviations of a feature.
    first_steps: tuple[float, float] = (8.0, 1.2)
    is_light: bool = False  # a front's residual network works on the latent itself
    # Of the crops; at 1 an image just fits the detector's square, or for the smallest, a front's smallest one.
    scales: tuple[float, float] = (0.6, 1.5)

    @property
    def qualities(self) -> int:
        """Number of qualities that are trained."""
        return len(self.prices)

    def alone(self, quality: int) -> Recipe:
        """Return the recipe of one quality (from 0) trained by itself. ConfigError if there is no such one."""
        if not 0 <= quality < self.qualities:
            raise ConfigError(f"quality {quality} is not in 0..{self.qualities - 1}")
        return replace(self, prices=(self.prices[quality],))

    def is_joint(self, progress: float) -> bool:
        """Return whether what the rest of the detector says is distilled too."""
        return progress >= self.joint_from

    def trains_tail(self, progress: float) -> bool:
        """Return whether the weights of the rest of the detector are trained."""
        return self.is_joint(progress) and progress >= self.tail_from

    def loss_weights(self, progress: float) -> Mapping[str, float]:
        """Return the weight of each distilled output."""
        return self.joint_weights if self.is_joint(progress) else FEATURE_STAGE

    def price_factor(self, progress: float) -> float:
        """Return the factor on the price of a bit; it rises geometrically, as the prices do."""
        ramp = math.exp(math.log(self.first_price) * max(0.0, 1 - progress / PRICE_RAMP))
        # The joint stage sums more terms of error, so a bit must cost more for the same rate.
        return ramp if self.is_joint(progress) else ramp / 2


# Random weights.
ENSEMBLE = Recipe(
    prices=(16.0, 8.4, 4.4, 2.3, 1.2, 0.64),
    matrix_rate=2e-2,
    peak_rate=2e-3,
    joint_from=0.45,
    first_price=0.05,
    joint_weights=ENSEMBLE_JOINT,
)
# The detector's own stages and principal components: everything says something from the first step.
FRONT = Recipe(
    prices=(24.0, 10.0, 4.2, 1.7, 0.6, 0.15),
    matrix_rate=1e-2,
    peak_rate=1e-3,
    decoder=DecoderSpec(channels=128, blocks=3, branch_channels=64),  # half of the usual one's work
    scales=(0.96, 1.25),
)
# Behind it lies a heavier server half, so the decoder may be one, too.
HEAVY_FRONT = replace(
    FRONT,
    decoder=DecoderSpec(channels=128, blocks=3, branch_channels=96),
    first_steps=(16.0, 4.0),
    is_light=True,
    scales=(0.75, 1.3),
    tail_from=0.3,
)
# Slices of the detector's own stages must learn to do without the rest.
SLICED_FRONT = replace(FRONT, front_rate=2e-4)
# Random weights as well. A wider range of bytes: more than eight times, which go with the root of the price.
SLIMMABLE = replace(ENSEMBLE, prices=(40.0, 16.0, 6.3, 2.5, 1.0, 0.4))
RECIPES: Mapping[str, Recipe] = {
    "ensemble": ENSEMBLE,
    "front": FRONT,
    "sliced-front": SLICED_FRONT,
    "front-ensemble": SLICED_FRONT,
    "slimmable": SLIMMABLE,
}


def recipe_for(encoder: str, detector: str) -> Recipe:
    """Return how a kind of encoder is trained for a detector."""
    return HEAVY_FRONT if encoder == "front" and detector in NANODETS else RECIPES[encoder]
