"""EfficientDet as a family of detectors that can be trained (Tan, Pang and Le, arXiv 1911.09070)."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.nn.efficientdet.architecture import EfficientDetArchitecture
from splitnet.nn.efficientdet.network import ANCHORS_PER_CELL, FAMILY, EfficientDet
from training.data.augment import Image
from training.detectors.efficientdet.losses import efficientdet_losses
from training.detectors.efficientdet.reading import READING
from training.detectors.efficientdet.weights import is_folded, read_efficientdet
from training.detectors.reading import Reading

PRIOR = 0.01  # score of everything in the beginning: most of an image is no object (Lin et al., arXiv 1708.02002)


class EfficientDetFamily:
    """A `detector_family.DetectorFamily`."""

    input_sizes: Mapping[str, int] = {name: spec.input_size for name, spec in FAMILY.items()}
    source: str = "Google's EfficientDet, in rwightman's port (Apache-2.0)"
    reading: Reading = READING
    fills: bool = False

    def build(self, name: str, classes: int) -> EfficientDet:
        """Return a network with random weights (`DetectorFamily`)."""
        network = EfficientDet(name, classes, fused=False)
        bias = network.class_net.predict.conv_pw.bias
        assert bias is not None
        nn.init.constant_(bias, -math.log((1 - PRIOR) / PRIOR))
        return network

    def load(self, path: Path, name: str) -> EfficientDet:
        """Return a network with a checkpoint's weights, its normalisation folded or not (`DetectorFamily`)."""
        return read_efficientdet(path, name)

    def read(self, path: Path, name: str, images: Sequence[Tensor]) -> EfficientDet:
        """Return a network with a checkpoint's weights, ready to be trained (`DetectorFamily`)."""
        network = read_efficientdet(path, name)
        if is_folded(network.state_dict()):
            # Levels share a convolution but not its normalisation: once folded, there is nothing to share any more.
            raise ConfigError(f"{path} has its normalisation folded away: train an EfficientDet from a public .pth")
        return network

    def with_classes(self, network: nn.Module, name: str, kept: Sequence[int | None]) -> EfficientDet:
        """Return a network with other classes (`DetectorFamily`)."""
        assert isinstance(network, EfficientDet)
        result = self.build(name, len(kept))
        own, theirs = result.state_dict(), network.state_dict()
        result.load_state_dict(
            {
                k: v if v.shape == own[k].shape and "class_net.predict.conv_pw" not in k else own[k]
                for k, v in theirs.items()
            }
        )
        new, old = result.class_net.predict.conv_pw, network.class_net.predict.conv_pw
        assert new.bias is not None and old.bias is not None
        with torch.no_grad():
            for to, source in ((new.weight, old.weight), (new.bias, old.bias)):
                rows, known = (x.unflatten(0, (ANCHORS_PER_CELL, -1)) for x in (to, source))
                for label, start in enumerate(kept):
                    if start is not None:
                        rows[:, label] = known[:, start]
        return result

    def classes(self, network: nn.Module) -> int:
        """Return how many classes a network knows."""
        assert isinstance(network, EfficientDet)
        return network.class_net.outputs

    def inputs(self, images: Image, device: torch.device) -> Tensor:
        """Return (N, 3, S, S) float32 BGR 0..255: the network normalises for itself."""
        image = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
        return image.float().contiguous(memory_format=torch.channels_last)

    def losses(
        self, raw: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor], square: int, is_late: bool
    ) -> dict[str, Tensor]:
        """Return EfficientDet's losses, the same to the end."""
        return efficientdet_losses(raw, boxes, labels, square)

    def detections(self, raw: Tensor, square: int, score_threshold: float) -> list[Detections]:
        """Return what is found in each image (`DetectorFamily`)."""
        return EfficientDetArchitecture().detections(raw, square, score_threshold)

    def deployed(self, network: nn.Module) -> EfficientDet:
        """Return a copy with its normalisation folded."""
        assert isinstance(network, EfficientDet)
        return copy.deepcopy(network).cpu().eval().fuse()
