"""The start of another server half for the devices of a bundle: their half as it is, and a linear map behind it.

The map from what devices send to the features of the new detector is least squares, found in closed form with a little
ridge. So the training begins with a detector that is split already, as that of a front does (`front_start`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from splitnet.letterbox import LATENT_STRIDE
from splitnet.nn.detector import Detector
from splitnet.nn.graph import nodes_of
from training.cuts.components import canvases, grey_features, named_features, spread
from training.distillation.front_start import IMAGES, set_densities
from training.distillation.start import device_weights
from training.distillation.student import Student

RIDGE = 1e-3  # of the mean square of the latent


@torch.no_grad()
def start_completion(
    student: Student, teacher: Detector, completed: Path, images: Sequence[Path], input_size: int
) -> None:
    """Give a student of a kept encoder that encoder, and a decoder that is a linear map of what it sends.

    BundleError if the completed bundle is damaged, ConfigError if no image can be read.
    """
    weights = device_weights(completed, student.spec.qualities)
    student.load_state_dict({**student.state_dict(), **weights})
    stage = student.spec.split_point
    linear, channels = student.decoder.linear[stage], student.spec.encoder.latent_channels
    shape = linear.state_dict()["weight"].shape  # (L, C, side, side)
    squares, products = torch.zeros(channels, channels), torch.zeros(channels, shape[1:].numel())
    latents = []
    grey = torch.from_numpy(grey_features(nodes_of(teacher), [stage])[stage]).float()
    for image in canvases(spread(images, IMAGES), input_size, LATENT_STRIDE, "linear map"):
        latent = student.front(image)
        latents.append(latent[0].flatten(1))
        sent = _sent(student, latent)[0].flatten(1)
        target = named_features(nodes_of(teacher), [stage], image)[stage][0] - grey[:, None, None]
        squares += sent @ sent.T
        products += sent @ _patches(target, image.shape[2] // LATENT_STRIDE).T
    ridge = RIDGE * squares.diagonal().mean() * torch.eye(channels)
    found = torch.linalg.solve(squares + ridge, products)
    linear.load_state_dict({"weight": found.reshape(shape), "bias": grey})
    set_densities(student.quantiser, torch.cat(latents, dim=1))


def _sent(student: Student, latent: Tensor) -> Tensor:
    """Return what the server has of a latent (1, L, h, w) at the finest quality."""
    gains, inverse = (each[0, -1][:, None, None] for each in student.quantiser.gains())
    return (latent * gains).round() * inverse


def _patches(features: Tensor, rows: int) -> Tensor:
    """Return the features (C, rows * side, columns * side) of each position of the latent, (C * side^2, positions)."""
    side = features.shape[1] // rows
    return F.unfold(features[None], side, stride=side)[0]
