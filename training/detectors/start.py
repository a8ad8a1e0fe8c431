"""The network that a detector's training starts from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.manifest import FILE_NAME as MANIFEST
from splitnet.manifest import load_manifest
from training.data.coco_file import class_names_of
from training.detectors.detector_file import read_note
from training.detectors.family import DetectorFamily

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """What to start from: a checkpoint and the names of its classes, or None twice."""

    path: Path | None = None
    classes: Path | None = None  # a COCO file; None: what the checkpoint itself says, if it is one of ours


def start_network(
    family: DetectorFamily, model: str, class_names: Sequence[str], start: Start, images: Sequence[Tensor], seed: int
) -> nn.Module:
    """Return a network of these classes, ready to be trained; what is kept of the checkpoint's is logged.

    images: see `DetectorFamily.read`. ConfigError if the checkpoint is of no use, or another detector.
    """
    torch.manual_seed(seed)
    if start.path is None:
        return family.build(model, len(class_names))
    network = family.read(start.path, model, images)
    names = _names(start, family.classes(network))
    kept = _kept(class_names, names, family.classes(network))
    if list(kept) == list(range(family.classes(network))):
        log.info("%s: its classes are kept as they are", start.path)
        return network
    old, new = (
        [n for n, k in zip(class_names, kept, strict=True) if (k is None) is is_new] for is_new in (False, True)
    )
    log.info("%s knows %d classes: kept %s; new %s", start.path, family.classes(network), _listed(old), _listed(new))
    return family.with_classes(network, model, kept)


def _names(start: Start, count: int) -> Sequence[str] | None:
    """Return the names of the checkpoint's classes, if they are known. ConfigError if they are not that many."""
    assert start.path is not None
    names: Sequence[str] | None = None
    if start.classes is not None:
        names = class_names_of(start.classes)
    elif (start.path / MANIFEST).is_file():
        names = load_manifest(start.path).class_names
    elif (note := read_note(start.path)) is not None:
        names = note.class_names
    if names is not None and len(names) != count:
        raise ConfigError(f"{start.path} knows {count} classes, but {start.classes or 'its folder'} names {len(names)}")
    return names


def _kept(class_names: Sequence[str], known: Sequence[str] | None, count: int) -> Sequence[int | None]:
    """Return the checkpoint's class of the same name for each class; of unknown names, all or none by their number."""
    if known is None:
        return range(count) if len(class_names) == count else [None] * len(class_names)
    index = {name.casefold(): i for i, name in enumerate(known)}
    return [index.get(name.casefold()) for name in class_names]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "") if names else "none"
