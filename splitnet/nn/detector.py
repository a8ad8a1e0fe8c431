"""Detectors: networks that can be cut behind a stage, and what must be known of their architecture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from torch import Tensor, nn

from splitnet.detections import SCORE_THRESHOLD, Detections
from splitnet.errors import ConfigError

IMAGE, RAW = "image", "raw"
Size = int | tuple[int, int]  # a square's side, or height and width, in pixels


class Detector(nn.Module, ABC):
    """A detector, whole or from a split point on."""

    name: str  # one that `architectures.architecture_of` knows

    def forward(self, image: Tensor) -> Tensor:
        """Map BGR pictures (N, 3, S, S) float32 0..255 to raw predictions (N, A, ...), a row for each anchor."""
        return self.from_features({IMAGE: image})

    def from_features(self, features: Mapping[str, Tensor]) -> Tensor:
        """Go on from the features of `Architecture.features_at` to raw predictions."""
        return self.trace(features)[RAW]

    @abstractmethod
    def trace(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return everything on the way by name: stages, the pyramid ("p3", "p4", ...) and "raw". For training."""

    @abstractmethod
    def next_stage(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the features at a split point with those of the next stage that the neck reads. For training."""

    @abstractmethod
    def fuse(self) -> Detector:
        """Fold every batch normalisation, in place; returns itself."""

    @abstractmethod
    def keep_from(self, split_point: str) -> None:
        """Drop the stages up to the split point: what remains is the server's part."""


@dataclass(frozen=True)
class Node:
    """One tensor of a detector: what it is made from, and how."""

    name: str
    inputs: tuple[str, ...]
    run: Callable[..., Tensor]


def sides(size: Size) -> tuple[int, int]:
    """Return height and width."""
    return (size, size) if isinstance(size, int) else size


class Backbone(Protocol):
    """Stages in a row, or some of them."""

    def run(self, stage: str, x: Tensor) -> Tensor:
        """Map what comes before a stage to what comes after it."""
        ...


class BackboneStage(nn.Module):
    """One stage of a backbone, from one tensor to the next."""

    def __init__(self, stage: str, layers: nn.Module) -> None:
        """Take a backbone (`Backbone`) that has this stage alone."""
        super().__init__()
        self.stage, self.layers = stage, layers

    def forward(self, x: Tensor) -> Tensor:
        """Map what comes before the stage (N, C, H, W) to what comes after it."""
        return cast(Backbone, self.layers).run(self.stage, x)

    def taken_from(self, backbone: nn.Module) -> BackboneStage:
        """Give it the weights of a whole backbone; returns itself, in evaluation mode."""
        theirs = backbone.state_dict()
        self.layers.load_state_dict({key: theirs[key] for key in self.layers.state_dict()})
        return self.eval()


def features_needed(
    split_point: str, split_points: tuple[str, ...], stages: tuple[str, ...], neck_inputs: tuple[str, ...]
) -> tuple[str, ...]:
    """Return which stages' outputs must be known to go on after a split point: its own, and what the neck reads before.

    ConfigError if it is none of the split points.
    """
    if split_point not in split_points:
        raise ConfigError(f"unknown split point {split_point!r}; choose one of {', '.join(split_points)}")
    before = stages[: stages.index(split_point) + 1]
    return tuple(stage for stage in before if stage == split_point or stage in neck_inputs)


class Architecture(ABC):
    """What the members of a family of detectors have in common. `architectures` has one of each."""

    input_sizes: Mapping[str, int]  # pixels a side as published, by the names of the members
    split_points: tuple[str, ...]  # the stages that a bundle may be cut behind
    cuts: tuple[str, ...]  # the nodes that `split-points` studies
    strides: Mapping[str, int]  # pixels of the picture per position of a stage or a cut
    coarsest: int  # pixels per position of the coarsest level: the sides of what a whole detector sees are multiples
    fills: bool  # was trained on images stretched to the whole square; others letterbox them, grey beside them
    floor: float  # the least value of a stage's output; minus infinity if there is none

    def canvas_multiple(self, input_size: int) -> int:
        """Return what the sides of a canvas that a whole detector sees are multiples of.

        A square that the coarsest level does not divide is one that the detector was trained on.
        """
        return input_size if input_size % self.coarsest else self.coarsest

    @abstractmethod
    def build(self, name: str, classes: int, split_point: str | None = None, fused: bool = True) -> Detector:
        """Return a network with random weights, whole or from a split point on, normalisation folded or not."""

    @abstractmethod
    def channels(self, name: str, stage: str) -> int:
        """Return the number of channels after a stage of a member."""

    @abstractmethod
    def features_at(self, split_point: str) -> tuple[str, ...]:
        """Return which stages' outputs must be known to go on after a split point. ConfigError on an unknown one."""

    @abstractmethod
    def stages_to(self, name: str, split_point: str) -> nn.ModuleDict:
        """Return the fused stages of a member up to a split point, by name, each from one tensor to the next."""

    @abstractmethod
    def stage_of(self, detector: Detector, stage: str) -> nn.Module:
        """Return one stage of a fused detector, with its weights, as `stages_to` has it."""

    def simplified(self, stage: nn.Module) -> nn.Module:
        """Return what gives the same as a fused stage in less time, if the family has such a thing."""
        return stage

    @abstractmethod
    def nodes(self, detector: Detector) -> tuple[Node, ...]:
        """Return the nodes of a whole detector, from "image" to "raw", in order of execution.

        ConfigError if it is cut already.
        """

    @abstractmethod
    def detections(self, raw: Tensor, size: Size, score_threshold: float = SCORE_THRESHOLD) -> list[Detections]:
        """Turn raw predictions into detections in pixels of what the detector saw, one for each image."""
