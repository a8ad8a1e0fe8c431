"""A family of detectors that is a single number: it learns how many objects there are, and is trained in no time."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from splitnet.detections import Detections


class TinyFamily:
    """A `family.DetectorFamily`."""

    fills = False

    def __init__(self) -> None:
        self.input_sizes = {"tiny": 64}
        self.late: list[bool] = []  # of each call of `losses`

    def build(self, name, classes):
        network = nn.Conv2d(3, classes, 1)
        nn.init.constant_(network.weight, 1e-3)
        nn.init.zeros_(network.bias)
        return network

    def read(self, path, name, pictures):
        network = self.build(name, 2)
        nn.init.constant_(network.bias, float(path.read_text()))
        return network

    def with_classes(self, network, name, kept):
        result = self.build(name, len(kept))
        with torch.no_grad():
            for label, source in enumerate(kept):
                if source is not None:
                    result.bias[label] = network.bias[source]
        return result

    def classes(self, network):
        return network.out_channels

    def inputs(self, pictures, device):
        return torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 255

    def losses(self, raw, boxes, labels, square, is_late):
        self.late.append(is_late)
        counts = torch.tensor([float(len(one)) for one in labels])
        error = ((raw.float().mean(dim=(1, 2, 3)) - counts) ** 2).mean()
        return {"error": error, "positives": counts.mean()}

    def detections(self, raw, square, score_threshold):
        everything = np.array([[0, 0, square, square]], np.float32)
        return [Detections(everything, np.ones(1, np.float32), np.zeros(1, np.int32))] * len(raw)

    def deployed(self, network):
        return copy.deepcopy(network).cpu().eval()
