"""The `pca` command: a detector becomes a split bundle without any training, in a minute.

The device runs the detector's own stages up to the split point and projects their features onto principal components;
the server projects them back. One width; a quality is a step size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from splitnet.bundle import BundleParts, save_bundle
from splitnet.errors import ConfigError
from splitnet.letterbox import LATENT_STRIDE
from splitnet.manifest import Manifest
from splitnet.nn.architectures import INPUT_SIZES, SPLIT_POINTS, architecture_of
from splitnet.nn.detector import Detector
from splitnet.nn.encoder.projection import BackProjection, ProjectionEncoder, ProjectionSpec
from splitnet.nn.graph import nodes_of
from splitnet.nn.split_detector import ServerHalf
from splitnet.settings import count, option
from training.command import Command, written
from training.cuts.component_codec import LatentStatistics, gains_of, quantised
from training.cuts.components import Basis, bases_of, canvases, fill_back_projection, fill_projection, spread
from training.data.coco_file import class_names_of
from training.data.images import find_images
from training.detectors.teacher import read_teacher
from training.entropy_tables import Symbols, fit_tables

ENERGY = 0.99  # of the features, that the components hold which are kept unless a rank is given
STEPS = (8.0, 5.6, 4.0, 2.8, 2.0, 1.4)  # of the qualities, in standard deviations of a channel


@dataclass(frozen=True)
class PcaSettings:
    """What to split, where, and on which images to find the components."""

    teacher: Path = option("the detector: .onnx, .pth, .safetensors", metavar="FILE")
    classes: Path = option("COCO annotations naming its classes", metavar="FILE.json")
    images: Sequence[Path] = option(
        "folders of images like those it will see", metavar="DIR", nargs="+", aliases=("--photographs",)
    )
    bundle: Path = option("where the bundle goes; its name is its own", metavar="DIR")
    detector: str = option("which detector it is", default="yolox-nano", choices=[*INPUT_SIZES])
    split_point: str = option("the device runs the stages up to here", default="dark3", choices=SPLIT_POINTS)
    rank: int = option(f"components kept of each tensor; 0: as many as hold {ENERGY:.0%} of its energy", default=0)
    fit_limit: int = option(
        "images to find components and tables on, at most", default=200, type=count, aliases=("--fit-photographs",)
    )
    input_size: int = option("pixels a side of the detector's square; 0: as published", default=0)
    threads: int = option("CPU threads", default=1)

    def __post_init__(self) -> None:
        """Raise ConfigError on numbers that cannot be."""
        if min(self.rank, self.input_size) < 0 or min(self.fit_limit, self.threads) < 1:
            raise ConfigError("--rank and --input-size must not be negative, --fit-limit and --threads positive")


def make_bundle(settings: PcaSettings) -> Manifest:
    """Write the bundle that the settings describe; returns its manifest. ConfigError on whatever is wrong with them."""
    names = class_names_of(settings.classes)
    detector = read_teacher(settings.teacher, settings.detector, names)
    images = spread(find_images(settings.images), settings.fit_limit)
    input_size = settings.input_size or INPUT_SIZES[settings.detector]
    plan = PcaPlan(settings.detector, names, settings.split_point, input_size, settings.rank)
    return export_pca(settings.bundle, detector, images, plan)


@dataclass(frozen=True)
class PcaPlan:
    """Which detector is split, where and how finely."""

    detector: str  # one that `architecture_of` knows
    class_names: tuple[str, ...]
    split_point: str = "dark3"
    input_size: int = 416  # pixels a side of the detector's square
    rank: int = 0  # components kept of each tensor, at most its channels; 0: as many as hold ENERGY
    steps: tuple[float, ...] = STEPS  # a quality each, falling


def export_pca(folder: Path, detector: Detector, images: Sequence[Path], plan: PcaPlan) -> Manifest:
    """Write a training-free bundle of a whole, fused detector and return its manifest.

    images: images like those it will see, without labels. ConfigError if none of them can be read.
    """
    bases = bases_of(nodes_of(detector), [plan.split_point], images, plan.input_size, LATENT_STRIDE)
    kept = {name: min(plan.rank, basis.channels) or basis.components_for(ENERGY) for name, basis in bases.items()}
    manifest = _manifest(folder, plan, ProjectionSpec(kept))
    encoder, back, gains = _codec(detector, bases, plan, ProjectionSpec(kept))
    statistics = LatentStatistics(gains)
    with torch.inference_mode():
        fitted = canvases(images, plan.input_size, LATENT_STRIDE, "entropy tables")
        latents = [encoder(image)[0] for image in fitted]
        for latent in latents:
            statistics.add(latent[None])
        model = fit_tables([latents], len(plan.steps), lambda latent, _, step: _symbols(latent, gains[0, step]))
    server = ServerHalf(back, _rest(detector, plan), statistics.inverse_gains(), plan.input_size)
    return save_bundle(folder, BundleParts(manifest, encoder, gains, model, server, detector))


def _symbols(latent: Tensor, gain: Tensor) -> Symbols:
    return np.asarray(quantised(latent, gain).to(torch.int16).numpy(), np.int16)


def _manifest(folder: Path, plan: PcaPlan, spec: ProjectionSpec) -> Manifest:
    components = sum(spec.components.values())
    return Manifest(
        name=folder.resolve().name,
        detector=plan.detector,
        split_point=plan.split_point,
        input_size=plan.input_size,
        class_names=plan.class_names,
        qualities=len(plan.steps),
        encoder=spec,
        decoder=None,
        files={},
        origin=f"The given {plan.detector} weights, unchanged; the codec is {components} principal components.",
    )


def _codec(
    detector: Detector, bases: Mapping[str, Basis], plan: PcaPlan, spec: ProjectionSpec
) -> tuple[ProjectionEncoder, BackProjection, Tensor]:
    """Return the device's network, its way back and the gains (1, qualities, L)."""
    patches = spec.patches(plan.detector, plan.split_point)
    encoder = spec.make(plan.detector, plan.split_point)
    back = spec.make_decoder(None, plan.detector, plan.split_point)
    fill_projection(encoder.projection, bases, patches)
    fill_back_projection(back, bases, patches)
    _take(encoder, detector)
    return encoder, back, gains_of(bases, patches, plan.steps)


def _rest(detector: Detector, plan: PcaPlan) -> Detector:
    rest = architecture_of(plan.detector).build(plan.detector, len(plan.class_names), plan.split_point)
    theirs = detector.state_dict()
    rest.load_state_dict({key: theirs[key] for key in rest.state_dict()})
    return rest


@torch.no_grad()
def _take(encoder: ProjectionEncoder, detector: Detector) -> None:
    """Give the front the detector's stages, in half precision: the tables must see the weights that will run."""
    for name, stage in encoder.stages.items():
        stage.load_state_dict(architecture_of(detector.name).stage_of(detector, name).state_dict())
    for tensor in encoder.state_dict().values():
        tensor.copy_(tensor.half().float())


def _run(settings: PcaSettings) -> str:
    return written(settings.bundle, make_bundle(settings))


COMMAND = Command("pca", "split a detector in a minute, without training", PcaSettings, _run)
