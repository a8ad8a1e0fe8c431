"""The server halves of groups: what is made of the parts of a frame. One for each task."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splitnet.detections import SCORE_THRESHOLD, Detections
from splitnet.errors import BundleError, ConfigError
from splitnet.groups.filling import Filling
from splitnet.groups.group_manifest import GroupManifest
from splitnet.json_values import integer, integers, text
from splitnet.nn.architectures import INPUT_SIZES, architecture_of
from splitnet.nn.decoder import DecoderSpec
from splitnet.nn.encoder_kinds import encoder_from_json


class PartOfFrame(Protocol):
    """A part of a frame, as it came."""

    @property
    def symbols(self) -> NDArray[np.int16]:
        """The symbols (C, h, w)."""

    @property
    def quality(self) -> int:
        """The quality that they were made at."""


class GroupHalf(nn.Module):
    """The server half of a group: undoes the gains, fills in what has not come, and goes on."""

    exact: ClassVar[frozenset[str]] = frozenset()  # tensors that are stored in single precision

    @abstractmethod
    def answers(
        self, frames: Sequence[Mapping[int, PartOfFrame]], score_threshold: float = SCORE_THRESHOLD
    ) -> list[Detections]:
        """Return what is found in each frame, by the parts that came of it; boxes in pixels of the square."""


class DetectionGroup(GroupHalf):
    """Parts are channels of the latent of a split detector, whose decoder and rest are those of its bundle."""

    exact = frozenset({"inverse_gains", "filling.mean", "filling.covariance"})
    inverse_gains: Tensor

    def __init__(self, manifest: GroupManifest) -> None:
        """Take the group's manifest. Raises as `half_of`."""
        super().__init__()
        server = manifest.server
        name, split_point = text(server["detector"]), text(server["split_point"])
        if name not in INPUT_SIZES:
            raise BundleError(f"unknown detector {name!r}")
        self.channels = [[integer(one) for one in part] for part in server["channels"]]
        encoder = encoder_from_json(server["encoder"])
        total = encoder.latent_channels
        _check_channels(self.channels, [one.latent_channels for one in manifest.networks], total)
        decoder = None if server["decoder"] is None else DecoderSpec(**integers(server["decoder"]))
        encoder.check(decoder, name, split_point)
        self._architecture = architecture_of(name)
        self._input_size = manifest.input_size
        self._cells = manifest.input_size // manifest.networks[0].stride
        self.decoder = encoder.make_decoder(decoder, name, split_point)
        self.detector = self._architecture.build(name, len(manifest.class_names), split_point)
        self.filling = Filling(total)
        self.register_buffer("inverse_gains", torch.ones(manifest.qualities, total))

    @torch.inference_mode()
    def answers(
        self, frames: Sequence[Mapping[int, PartOfFrame]], score_threshold: float = SCORE_THRESHOLD
    ) -> list[Detections]:
        """Return what is found in each frame (`GroupHalf`)."""
        latents = torch.stack([self.latent(one) for one in frames])
        raw = self.detector.from_features(self.decoder(latents.to(self.inverse_gains.device))).float()
        return list(self._architecture.detections(raw, self._input_size, score_threshold))

    def latent(self, parts: Mapping[int, PartOfFrame]) -> Tensor:
        """Return the latent (C, S/16, S/16) of a frame's parts. What lies outside of the canvas is zero."""
        filled = _joined(parts, self.channels, self.inverse_gains, self.filling)
        total, height, width = filled.shape
        whole = torch.zeros(total, self._cells, self._cells)
        whole[:, :height, :width] = filled
        return whole


class ClassificationGroup(GroupHalf):
    """Parts are features of the whole image; one dense layer makes them class scores.

    The answer is the likeliest class alone, as a box around the whole image with the probability as its score.
    """

    exact = frozenset({"inverse_gains", "filling.mean", "filling.covariance"})
    inverse_gains: Tensor

    def __init__(self, manifest: GroupManifest) -> None:
        """Take the group's manifest. Raises as `half_of`."""
        super().__init__()
        self.channels = [[integer(one) for one in part] for part in manifest.server["channels"]]
        total = sum(map(len, self.channels))
        _check_channels(self.channels, [one.latent_channels for one in manifest.networks], total)
        if any(one.stride != manifest.input_size for one in manifest.networks):
            raise BundleError("a part of a classifier is one value a channel")
        self._side = float(manifest.input_size)
        self.dense = nn.Linear(total, len(manifest.class_names))
        self.filling = Filling(total)
        self.register_buffer("inverse_gains", torch.ones(manifest.qualities, total))

    @torch.inference_mode()
    def answers(
        self, frames: Sequence[Mapping[int, PartOfFrame]], score_threshold: float = SCORE_THRESHOLD
    ) -> list[Detections]:
        """Return the likeliest class of each frame (`GroupHalf`), whatever its score."""
        scores, labels = self.probabilities(frames).max(1)
        box = np.array([[0, 0, self._side, self._side]], np.float32)
        pairs = zip(scores.tolist(), labels.tolist(), strict=True)
        return [Detections(box, np.array([score], np.float32), np.array([label], np.int32)) for score, label in pairs]

    @torch.inference_mode()
    def probabilities(self, frames: Sequence[Mapping[int, PartOfFrame]]) -> Tensor:
        """Return the probability (N, classes) of each class in each frame."""
        joined = [_joined(one, self.channels, self.inverse_gains, self.filling).flatten() for one in frames]
        return torch.softmax(self.dense(torch.stack(joined).to(self.inverse_gains.device)), 1).cpu()


def _joined(
    parts: Mapping[int, PartOfFrame], channels: Sequence[Sequence[int]], inverse_gains: Tensor, filling: Filling
) -> Tensor:
    """Return the latent (C, h, w) of a frame's parts, what has not come filled in."""
    height, width = next(iter(parts.values())).symbols.shape[1:]
    total = inverse_gains.shape[1]
    latent, came = torch.zeros(total, height, width), torch.zeros(total, dtype=torch.bool)
    for number, part in parts.items():
        own = channels[number - 1]
        gains = inverse_gains[part.quality, own].cpu()
        latent[own] = torch.from_numpy(part.symbols).float() * gains[:, None, None]
        came[own] = True
    return filling.fill(latent, came)


TASKS: Mapping[str, type[GroupHalf]] = {"detection": DetectionGroup, "classification": ClassificationGroup}


def half_of(manifest: GroupManifest) -> GroupHalf:
    """Return the server half of a group, its weights not set. BundleError if its manifest does not fit together."""
    task: Any = TASKS.get(manifest.task)
    if task is None:
        raise BundleError(f"group bundle {manifest.name} is for {manifest.task!r}, which this software does not know")
    try:
        half: GroupHalf = task(manifest)
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise BundleError(f"group bundle {manifest.name}: its server half does not fit: {error}") from error
    return half


def _check_channels(channels: Sequence[Sequence[int]], sizes: Sequence[int], total: int) -> None:
    """Raise BundleError unless each channel is of one part."""
    everyone = sorted(chain.from_iterable(channels))
    if [len(part) for part in channels] != list(sizes) or everyone != list(range(total)):
        raise BundleError("the parts are not those of the channels")
