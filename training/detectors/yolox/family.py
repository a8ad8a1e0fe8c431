"""YOLOX as a family of detectors that can be trained (Ge et al., arXiv 2107.08430)."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from splitnet.detections import Detections
from splitnet.nn.yolox.boxes import detections_from_raw
from splitnet.nn.yolox.network import FAMILY, YOLOX
from training.data.augment import Image
from training.detectors.reading import Reading
from training.detectors.yolox.batch_norm import restore_batch_norm
from training.detectors.yolox.losses import yolox_losses
from training.detectors.yolox.reading import READING
from training.detectors.yolox.weights import classes_of, is_folded, read_yolox

PRIOR = 0.01  # score of everything in the beginning: most of an image is no object (Lin et al., arXiv 1708.02002)


class YOLOXFamily:
    """A `detector_family.DetectorFamily`."""

    input_sizes: Mapping[str, int] = {name: spec.input_size for name, spec in FAMILY.items()}
    source: str = "Megvii's YOLOX (Apache-2.0)"
    reading: Reading = READING
    fills: bool = False

    def build(self, name: str, classes: int) -> YOLOX:
        """Return a network with random weights (`DetectorFamily`)."""
        network = YOLOX(name, classes, fused=False)
        for prediction in (*network.head.cls_preds, *network.head.obj_preds):
            _expect_nothing(cast(nn.Conv2d, prediction))
        return network

    def load(self, path: Path, name: str) -> YOLOX:
        """Return a network with a checkpoint's weights, its normalisation folded or not (`DetectorFamily`)."""
        return read_yolox(path, name)

    def read(self, path: Path, name: str, images: Sequence[Tensor]) -> YOLOX:
        """Return a network with a checkpoint's weights; normalisation that was folded away is restored."""
        network = read_yolox(path, name)
        if not is_folded(network.state_dict()):
            return network
        return restore_batch_norm(network.eval(), YOLOX(name, classes_of(network), fused=False), images)

    def with_classes(self, network: nn.Module, name: str, kept: Sequence[int | None]) -> YOLOX:
        """Return a network with other classes (`DetectorFamily`)."""
        assert isinstance(network, YOLOX)
        result = self.build(name, len(kept))
        own = result.state_dict()
        theirs = network.state_dict()
        fitting = {
            key: value for key, value in theirs.items() if value.shape == own[key].shape and "cls_preds" not in key
        }
        result.load_state_dict({**own, **fitting})
        with torch.no_grad():
            for new, old in zip(result.head.cls_preds, network.head.cls_preds, strict=True):
                assert isinstance(new, nn.Conv2d) and isinstance(old, nn.Conv2d)
                assert new.bias is not None and old.bias is not None
                for label, source in enumerate(kept):
                    if source is not None:
                        new.weight[label], new.bias[label] = old.weight[source], old.bias[source]
        return result

    def classes(self, network: nn.Module) -> int:
        """Return how many classes a network knows."""
        assert isinstance(network, YOLOX)
        return classes_of(network)

    def inputs(self, images: Image, device: torch.device) -> Tensor:
        """Return (N, 3, S, S) float32 0..255."""
        image = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
        return image.float().contiguous(memory_format=torch.channels_last)

    def losses(
        self, raw: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor], square: int, is_late: bool
    ) -> dict[str, Tensor]:
        """Return YOLOX's losses; the L1 distance only late, where boxes no longer jump."""
        return yolox_losses(raw, boxes, labels, square, with_distance=is_late)

    def detections(self, raw: Tensor, square: int, score_threshold: float) -> list[Detections]:
        """Return what is found in each image (`DetectorFamily`)."""
        return detections_from_raw(raw, square, score_threshold)

    def deployed(self, network: nn.Module) -> YOLOX:
        """Return a copy with its normalisation folded."""
        assert isinstance(network, YOLOX)
        return copy.deepcopy(network).cpu().eval().fuse()


@torch.no_grad()
def _expect_nothing(prediction: nn.Conv2d) -> None:
    assert prediction.bias is not None
    prediction.bias.fill_(-math.log((1 - PRIOR) / PRIOR))
