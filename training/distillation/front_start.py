"""The start of a trained front: the detector's own stages, and principal components of what they say.

The linear parts of encoder and decoder are the projection of a training-free split (`training.cuts.components`) onto
its strongest coefficients. Only the features of the square's grey become zero: that is what the server sees where
nothing was sent. So a training starts from a detector that is split already, and only has to improve it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from splitnet.letterbox import LATENT_STRIDE
from splitnet.nn.detector import Detector
from splitnet.nn.encoder.projection import patch_side
from splitnet.nn.graph import nodes_of
from training.cuts.components import bases_of, canvases, kernel_of, spread
from training.distillation.rate import GainedQuantiser
from training.distillation.student import Student

IMAGES = 150  # to find components on; half of them to find the strongest coefficients and the density of symbols
FIRST_STEP, LAST_STEP = 8.0, 1.2  # usual ones, of the coarsest and the finest quality, in deviations of a feature
MIN_SPREAD = 0.05  # mean deviation of symbols that are next to always zero


@torch.no_grad()
def start_front(
    student: Student,
    teacher: Detector,
    images: Sequence[Path],
    input_size: int,
    ends: tuple[float, float] = (FIRST_STEP, LAST_STEP),
) -> None:
    """Give a student whose encoder has the detector's own stages its first weights.

    ConfigError if no image can be read.
    ends: the steps of the coarsest and the finest quality, in standard deviations of a feature.
    """
    encoder, stage = student.whole_front(), student.spec.split_point
    encoder.take_stages(teacher)
    chosen = spread(images, IMAGES)
    basis = bases_of(nodes_of(teacher), [stage], chosen, input_size, LATENT_STRIDE)[stage]
    kernel, grey = torch.from_numpy(kernel_of(basis.components, patch_side(stage))).float(), torch.tensor(basis.grey)
    bias = -torch.einsum("kcij,c->k", kernel, grey.float())
    found = [
        F.conv2d(encoder.features(image), kernel, bias, stride=patch_side(stage))[0].flatten(1)
        for image in canvases(chosen[::2], input_size, LATENT_STRIDE, "strongest coefficients")
    ]
    coefficients = torch.cat(found, dim=1)
    kept = coefficients.std(dim=1).argsort(descending=True)[: encoder.spec.latent_channels]
    _set(encoder.analysis.linear, kernel[kept] / basis.deviation, bias[kept] / basis.deviation)
    _set(student.decoder.linear[stage], kernel[kept] * basis.deviation, grey)
    _start_quantiser(student.quantiser, coefficients[kept] / basis.deviation, ends)
    if student.kind.take_front is not None:
        fitted = list(canvases(chosen[::2], input_size, LATENT_STRIDE, "slices"))
        student.kind.take_front(student.encoder, encoder, fitted)


def _set(conv: nn.Module, weight: Tensor, bias: Tensor) -> None:
    conv.load_state_dict({"weight": weight, "bias": bias})


def _start_quantiser(quantiser: GainedQuantiser, latent: Tensor, ends: tuple[float, float]) -> None:
    """Begin with one step for all channels of a quality, undone by regression, and the density of a latent (L, n)."""
    qualities = quantiser.log_gain.shape[1]
    steps = torch.linspace(math.log(ends[0]), math.log(ends[1]), qualities).exp()
    for quality, step in enumerate(steps.tolist()):
        symbols = (latent / step).round()
        slope = (latent * symbols).sum(dim=1) / symbols.square().sum(dim=1).clamp(min=1.0)
        quantiser.log_gain[:, quality] = -math.log(step)
        quantiser.log_inverse[:, quality] = torch.where(slope > 0, slope, torch.tensor(step)).log()
    set_densities(quantiser, latent)


@torch.no_grad()
def set_densities(quantiser: GainedQuantiser, latent: Tensor) -> None:
    """Give a quantiser of one width the densities of a latent's (L, n) symbols at the gains that it has."""
    for quality, gains in enumerate(quantiser.log_gain[0].exp()):
        scaled = latent * gains[:, None]
        median = scaled.median(dim=1, keepdim=True).values
        deviation = (scaled - median).abs().mean(dim=1).clamp(min=MIN_SPREAD)
        quantiser.location[:, quality] = median[:, 0]
        quantiser.log_scale[:, quality] = (0.75 * deviation).log()  # of a logistic density, from its mean deviation
