"""NanoDet-Plus as a family of detectors that can be trained."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from splitnet.detections import Detections
from splitnet.nn.nanodet.architecture import NanoDetArchitecture
from splitnet.nn.nanodet.network import FAMILY, NanoDet
from training.data.augment import Image
from training.detectors.nanodet.auxiliary import TrainedNanoDet
from training.detectors.nanodet.losses import nanodet_losses
from training.detectors.nanodet.norms import restore_norms
from training.detectors.nanodet.reading import READING
from training.detectors.nanodet.weights import is_folded, read_nanodet
from training.detectors.reading import Reading

PRIOR = 0.01  # score of everything in the beginning: most of an image is no object (Lin et al., arXiv 1708.02002)


class NanoDetFamily:
    """A `detector_family.DetectorFamily`."""

    input_sizes: Mapping[str, int] = {name: spec.input_size for name, spec in FAMILY.items()}
    source: str = "RangiLyu's NanoDet-Plus (Apache-2.0)"
    reading: Reading = READING
    fills: bool = True

    def build(self, name: str, classes: int) -> TrainedNanoDet:
        """Return a network with random weights (`DetectorFamily`)."""
        network = TrainedNanoDet(name, classes)
        layers = [cast(nn.Conv2d, layer) for layer in network.head.gfl_cls]
        for layer in (*layers, network.aux_head.gfl_cls):
            assert layer.bias is not None
            nn.init.constant_(layer.bias[:classes], -math.log((1 - PRIOR) / PRIOR))
        return network

    def load(self, path: Path, name: str) -> NanoDet:
        """Return a network with a checkpoint's weights, its normalisation folded or not (`DetectorFamily`)."""
        return read_nanodet(path, name)

    def read(self, path: Path, name: str, images: Sequence[Tensor]) -> TrainedNanoDet:
        """Return a network with a checkpoint's weights; normalisation that was folded away is restored.

        The auxiliary head begins anew: it is no part of what is read.
        """
        detector = read_nanodet(path, name)
        if is_folded(detector.state_dict()):
            plain = NanoDet(name, detector.head.classes, fused=False)
            detector = restore_norms(detector.eval(), plain, images)
        network = self.build(name, detector.head.classes)
        theirs = detector.state_dict()
        network.load_state_dict({**network.state_dict(), **theirs})
        neck = {key: value for key, value in theirs.items() if key.startswith("fpn.")}
        network.aux_fpn.load_state_dict({key.removeprefix("fpn."): value for key, value in neck.items()})
        return network

    def with_classes(self, network: nn.Module, name: str, kept: Sequence[int | None]) -> TrainedNanoDet:
        """Return a network with other classes (`DetectorFamily`)."""
        assert isinstance(network, TrainedNanoDet)
        result = self.build(name, len(kept))
        own, theirs, before = result.state_dict(), network.state_dict(), network.head.classes
        for key, value in theirs.items():
            if "gfl_cls" not in key:
                own[key] = value
            elif len(value) > before:  # the boxes' outputs stand behind those of the classes
                own[key] = torch.cat((_chosen(own[key][: len(kept)], value[:before], kept), value[before:]))
            else:
                own[key] = _chosen(own[key], value, kept)
        result.load_state_dict(own)
        return result

    def classes(self, network: nn.Module) -> int:
        """Return how many classes a network knows."""
        assert isinstance(network, NanoDet)
        return network.head.classes

    def inputs(self, images: Image, device: torch.device) -> Tensor:
        """Return (N, 3, S, S) float32 BGR 0..255: the network normalises for itself."""
        image = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
        return image.float().contiguous(memory_format=torch.channels_last)

    def losses(
        self, raw: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor], square: int, is_late: bool
    ) -> dict[str, Tensor]:
        """Return NanoDet-Plus's losses, the same to the end."""
        return nanodet_losses(raw, boxes, labels, square)

    def detections(self, raw: Tensor, square: int, score_threshold: float) -> list[Detections]:
        """Return what is found in each image (`DetectorFamily`)."""
        return NanoDetArchitecture().detections(raw, square, score_threshold)

    def deployed(self, network: nn.Module) -> NanoDet:
        """Return a copy with its normalisation folded, and without the auxiliary head."""
        assert isinstance(network, NanoDet)
        plain = network.plain() if isinstance(network, TrainedNanoDet) else copy.deepcopy(network)
        return plain.cpu().eval().fuse()


def _chosen(new: Tensor, old: Tensor, kept: Sequence[int | None]) -> Tensor:
    """Return the rows of `new`, with those of `old` wherever one is kept."""
    return torch.stack([new[i] if source is None else old[source] for i, source in enumerate(kept)])
