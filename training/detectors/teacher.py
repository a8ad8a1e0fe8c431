"""The unsplit detector that a split one is distilled from: a public checkpoint, or one trained here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from splitnet.errors import ConfigError
from splitnet.nn.architectures import INPUT_SIZES
from splitnet.nn.detector import Detector
from training.detectors.detector_file import read_note
from training.detectors.family import family_of
from training.detectors.nanodet.unit_scale import at_unit_scale


def read_teacher(path: Path, name: str, class_names: Sequence[str]) -> Detector:
    """Return the detector `name` as it will run. path: see `yolox_weights.read_yolox` and `efficientdet_weights`.

    ConfigError if it is another detector, or knows other classes than these.
    """
    family = family_of(name)
    detector = family.load(path, name)
    note = read_note(path)
    if family.classes(detector) != len(class_names):
        raise ConfigError(f"{path} knows {family.classes(detector)} classes, but --classes names {len(class_names)}")
    if note is not None and note.class_names != tuple(class_names):
        names = ", ".join(note.class_names[:5])
        raise ConfigError(f"{path} knows {names} ..., but --classes names others, or in another order")
    return at_unit_scale(detector.eval().fuse())


def origin_of(path: Path) -> str | None:
    """Return where a detector trained here comes from; None for a public checkpoint."""
    note = read_note(path)
    return None if note is None else note.origin


def input_size_of(path: Path, name: str) -> int:
    """Return the side in pixels of the square that a detector `name` was trained for here, or was published for."""
    note = read_note(path)
    return note.input_size if note else INPUT_SIZES[name]
