"""How encoders of each kind are trained: one entry a kind. How they run, `splitnet.nn.encoder_kinds` knows.

A trainable encoder may be another network than the one that runs: with normalisation, and all widths in one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.nn.encoder.ensemble import EnsembleEncoder, EnsembleSpec
from splitnet.nn.encoder.front import FrontEncoder, FrontSpec
from splitnet.nn.encoder.front_ensemble import FrontEnsembleEncoder, FrontEnsembleSpec
from splitnet.nn.encoder.sliced_front import SlicedFrontEncoder, SlicedFrontSpec
from splitnet.nn.encoder.slimmable import SlimmableSpec, leading
from splitnet.nn.encoder.spec import Encoder, EncoderSpec
from training.distillation.slices import start_front_ensemble, start_sliced_front
from training.distillation.slimmable import SlimmableEncoder
from training.distillation.width_groups import by_width


@dataclass(frozen=True)
class TrainedKind:
    """What a training must know of a kind. Functions take encoders and specs of that kind."""

    make: Callable[[Any, str, str], nn.Module]  # of a spec, the detector's name and the split point
    materialise: Callable[[Any], Encoder]  # the full-width encoder as it will run, with weights of its own
    widths: Callable[[Any], int]  # of a spec: how many are trained one by one
    latents: Callable[[Any, Tensor, Tensor], Tensor]  # of canvases (N, 3, h, w) at widths (N,): (N, L, h/16, w/16)
    entry: str = "forward"  # the method that runs in every step, to be compiled
    stacked: Callable[[Any], int] = lambda spec: 1  # matrices of their own in one weight
    sent: Callable[[Any, int], Tensor | None] = lambda spec, qualities: None  # channels that each point sends, if fewer
    starts_split: bool = False  # begins with the detector's own stages and principal components
    stages: Callable[[Any], Iterable[nn.Parameter]] = lambda encoder: ()  # the detector's own, of an encoder
    linear: Callable[[Any], Iterable[nn.Parameter]] = lambda encoder: ()  # what begins as principal components
    # Gives an encoder that is no front the weights of one that has begun; with canvases (1, 3, h, w) to fit it on.
    take_front: Callable[[Any, FrontEncoder, Sequence[Tensor]], None] | None = None
    needs_statistics: bool = False  # of its widths, measured when the weights are final; drawn by the sandwich rule


def kind_of(spec: EncoderSpec) -> TrainedKind:
    """Return how encoders of a spec's kind are trained. ConfigError if they are not."""
    if spec.kind not in TRAINED_KINDS:
        raise ConfigError(f"an encoder of the kind {spec.kind} is not trained: choose {', '.join(TRAINED_KINDS)}")
    return TRAINED_KINDS[spec.kind]


def _front(spec: FrontSpec, detector: str, split_point: str) -> FrontEncoder:
    encoder = FrontEncoder(spec, detector, split_point)
    encoder.stages.requires_grad_(False)
    return encoder


def _frozen(encoder: Encoder) -> Encoder:
    """Return a copy that runs as it is."""
    return copy.deepcopy(encoder).requires_grad_(False).eval()


def _sent(spec: SlimmableSpec, qualities: int) -> Tensor:
    """Return which channels of the latent are filled and sent at each width and quality, (widths, qualities, L)."""
    shares = spec.quality_shares or (100,) * qualities
    if len(shares) != qualities:
        raise ConfigError(f"encoder: shares of the latent for {len(shares)} qualities, but {qualities} are trained")
    filled = torch.tensor([spec.at(width).latent_channels for width in range(1, spec.widths + 1)])
    sent = torch.tensor([leading(spec.latent_channels, share) for share in shares])
    counts = torch.minimum(filled[:, None], sent)[..., None]
    return (torch.arange(spec.latent_channels) < counts).float()


TRAINED_KINDS: Mapping[str, TrainedKind] = {
    FrontSpec.kind: TrainedKind(
        make=_front,
        materialise=_frozen,
        widths=lambda spec: 1,  # they share everything
        latents=lambda encoder, canvas, widths: encoder(canvas),
        starts_split=True,
        stages=lambda encoder: encoder.stages.parameters(),
        linear=lambda encoder: encoder.analysis.linear.parameters(),
    ),
    SlicedFrontSpec.kind: TrainedKind(
        make=lambda spec, detector, split_point: SlicedFrontEncoder(spec, detector, split_point),
        materialise=_frozen,
        widths=lambda spec: len(spec.shares),  # sizes share everything
        latents=lambda encoder, canvas, widths: by_width(lambda x, width: encoder.latent(x, width - 1), canvas, widths),
        entry="",
        starts_split=True,
        stages=lambda encoder: encoder.stages.parameters(),
        linear=lambda encoder: (p for one in encoder.analyses for p in one.linear.parameters()),
        take_front=start_sliced_front,
    ),
    FrontEnsembleSpec.kind: TrainedKind(
        make=lambda spec, detector, split_point: FrontEnsembleEncoder(spec, detector, split_point),
        materialise=_frozen,
        widths=lambda spec: spec.widths,
        latents=lambda encoder, canvas, widths: by_width(
            lambda x, width: encoder.first(x) if width == 1 else encoder(x), canvas, widths
        ),
        entry="",
        starts_split=True,
        stages=lambda encoder: (*encoder.first.stages.parameters(), *encoder.second.stages.parameters()),
        linear=lambda encoder: (
            *encoder.first.analysis.linear.parameters(),
            *encoder.second.analysis.linear.parameters(),
        ),
        take_front=start_front_ensemble,
    ),
    EnsembleSpec.kind: TrainedKind(
        make=lambda spec, detector, split_point: EnsembleEncoder(spec),
        materialise=lambda encoder: encoder.materialise(encoder.spec.widths),
        widths=lambda spec: spec.widths,
        latents=lambda encoder, canvas, widths: encoder.latents(canvas, widths),
        entry="latents",
        stacked=lambda spec: spec.members,
    ),
    SlimmableSpec.kind: TrainedKind(
        make=lambda spec, detector, split_point: SlimmableEncoder(spec),
        materialise=lambda encoder: encoder.shared(),
        widths=lambda spec: spec.widths,
        latents=lambda encoder, canvas, widths: encoder.latents(canvas, widths),
        entry="",  # every width, and every size of a group, would be a shape of its own
        sent=_sent,
        needs_statistics=True,
    ),
}
