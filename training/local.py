"""The `local` command: give a bundle the detector that its devices run alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from splitnet.bundle import add_local_detector
from splitnet.errors import ConfigError
from splitnet.manifest import FILE_NAME as MANIFEST
from splitnet.manifest import FileEntry, LocalDetector, Manifest, check_same_classes, load_manifest
from splitnet.nn.architectures import INPUT_SIZES
from splitnet.nn.detector import Detector, sides
from splitnet.nn.macs import count_macs
from splitnet.settings import count, option
from training.command import Command
from training.data.coco_file import class_names_of
from training.detectors.detector_file import read_note
from training.detectors.family import family_of
from training.detectors.teacher import read_teacher
from training.evaluation.systems import LocalSystem


@dataclass(frozen=True, kw_only=True)
class LocalSettings:
    """Which detector a bundle's devices are to run alone."""

    bundle: Path = option("the bundle; devices and servers that have it already go on with it", metavar="DIR")
    weights: Path = option(
        "the detector: .onnx, .pth, .safetensors, the --run of a `detector`, or a bundle, whose unsplit one it is",
        metavar="FILE",
    )
    detector: str | None = option("which detector a file is", default=None, choices=[*INPUT_SIZES])
    classes: Path | None = option(
        "COCO annotations whose categories are the classes of a file", default=None, metavar="FILE.json"
    )
    input_size: int | None = option("side of its square, pixels (default: its own)", default=None, type=count)
    licence: str | None = option("of the weights of a file (default: Apache-2.0)", default=None, metavar="TEXT")


@dataclass(frozen=True)
class _Known:
    """What is known of a detector beside its weights."""

    detector: str
    class_names: tuple[str, ...]
    input_size: int
    origin: str
    licence: str = "Apache-2.0"


def add_local(settings: LocalSettings) -> Manifest:
    """Store the detector in the bundle, in the place of any it had; returns the manifest.

    ConfigError if the weights are not what they are said to be, BundleError if they know other classes than the bundle.
    """
    manifest, known = load_manifest(settings.bundle), _known(settings)
    check_same_classes(known.class_names, manifest.class_names)
    local = LocalDetector(
        known.detector,
        settings.input_size or known.input_size,
        known.class_names,
        FileEntry("", 0),  # of what is stored
        origin=known.origin,
        licence=settings.licence or known.licence,
    )
    detector = read_teacher(settings.weights, known.detector, known.class_names)
    mmacs = round(local_mmacs(detector, local.input_size), 2)
    return add_local_detector(settings.bundle, detector, replace(local, mmacs=mmacs))


def _known(settings: LocalSettings) -> _Known:
    """Return what a bundle, a run or the user says of the weights. ConfigError if nobody says it."""
    path = settings.weights
    if (path / MANIFEST).is_file():
        bundle = load_manifest(path)
        return _Known(bundle.detector, bundle.class_names, bundle.input_size, bundle.origin, bundle.licence)
    if (note := read_note(path)) is not None:
        return _Known(note.detector, note.class_names, note.input_size, note.origin)
    if settings.detector is None or settings.classes is None:
        raise ConfigError(f"{path} does not say what it is: give --detector and --classes")
    name = settings.detector
    origin = f"The public {name} weights of {family_of(name).source}."
    return _Known(name, class_names_of(settings.classes), INPUT_SIZES[name], origin)


def local_mmacs(detector: Detector, input_size: int) -> float:
    """Return the millions of multiply-accumulates of a local detector, for a 4:3 frame as a device sees it."""
    system = LocalSystem(detector, input_size)
    image = torch.zeros(1, 3, *sides(system.seen(system.fit(640, 480))))
    return count_macs(detector, lambda: detector(image)) / 1e6


def _run(settings: LocalSettings) -> str:
    local = add_local(settings).local
    assert local is not None
    said = f"{settings.bundle} has {local.detector} for its devices, {local.mmacs:.0f} MMACs a frame;"
    return f"{said}\nnow measure it: python -m training evaluate --write-manifest"


COMMAND = Command("local", "give a bundle another detector for its devices to run alone", LocalSettings, _run)
