"""The `split-points` command: study the cuts of a detector into a JSON file, going on where it was interrupted."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from splitnet.atomic_write import write_json
from splitnet.codec.bitstream import NEIGHBOURS
from splitnet.environment import environment
from splitnet.errors import ConfigError
from splitnet.manifest import Accuracy
from splitnet.nn.architectures import CUTS, INPUT_SIZES
from splitnet.nn.detector import Detector
from splitnet.settings import count, option
from training.command import Command
from training.cuts.components import spread
from training.cuts.figures import CutStudy, cut_from_json, cut_to_json
from training.cuts.plot import can_draw, draw_study
from training.cuts.study import StudyConfig, study_cuts, unsplit_accuracy
from training.cuts.text import as_text
from training.data.coco_file import class_names_of
from training.data.images import find_images
from training.detectors.family import family_of
from training.evaluation.average_precision import LabelledSet
from training.evaluation.measure import unsplit_detections

BELIEVED = 0.3  # score from which on a detection counts as the truth where nobody has annotated any


@dataclass(frozen=True)
class SplitPointsSettings:
    """What to study, and on which images."""

    weights: Path = option("the detector: .onnx, .pth, .safetensors", metavar="FILE")
    images: Path = option("images to measure accuracy and bytes on", metavar="DIR")
    out: Path = option(
        "where the figures go; with matplotlib, also FILE-light.png and FILE-dark.png", metavar="FILE.json"
    )
    model: str = option("which detector it is", default="yolox-nano", choices=sorted(INPUT_SIZES))
    annotations: Path | None = option(
        "COCO annotations of the images; without, what the unsplit detector finds counts as the truth",
        default=None,
        metavar="FILE.json",
    )
    fit_images: Path | None = option(
        "other images to find components and entropy tables on; without, those of --images",
        default=None,
        metavar="DIR",
        aliases=("--photographs",),
    )
    fit_limit: int = option("how many of these at most", default=200, type=count, aliases=("--fit-photographs",))
    limit: int = option("measure on the first N images only; 0: on all", default=0)
    cuts: Sequence[str] = option("only these cuts of its own", default=(), choices=CUTS, nargs="+")
    input_size: int = option("pixels a side of the detector's square; 0: as published", default=0)
    device_mmacs: float = option("recommend a cut for so many MMACs a frame; 0: for any", default=0.0)
    bytes: float = option("recommend a cut for so many bytes a frame; 0: for any", default=0.0)
    threads: int = option("CPU threads", default=1)

    def __post_init__(self) -> None:
        """Raise ConfigError on numbers that cannot be."""
        if min(self.limit, self.input_size, self.device_mmacs, self.bytes) < 0:
            raise ConfigError("--limit, --input-size, --device-mmacs and --bytes must not be negative")
        if min(self.fit_limit, self.threads) < 1:
            raise ConfigError("--fit-limit and --threads must be at least 1")

    @property
    def config(self) -> StudyConfig:
        """What is measured."""
        return StudyConfig(self.input_size or INPUT_SIZES[self.model], tuple(dict.fromkeys(self.cuts)))


def run_study(settings: SplitPointsSettings) -> dict[str, Any]:
    """Study every cut and write the figures; returns them. ConfigError on whatever is wrong with the settings.

    After each cut the figures so far are in FILE.json.partial, and the same command goes on from there.
    """
    detector = family_of(settings.model).load(settings.weights, settings.model).eval().fuse()
    config = settings.config
    with tempfile.TemporaryDirectory() as scratch:
        labelled = _labelled(settings, detector, Path(scratch))
    images = _fit_images(settings)
    partial = settings.out.with_name(f"{settings.out.name}.partial")
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    head = {
        "model": settings.model,
        "weights": hashlib.sha256(settings.weights.read_bytes()).hexdigest() if settings.weights.is_file() else "",
        "input_size": config.input_size,
        "images": len(labelled.images),
        "photographs": len(images),
        "truth": "annotations" if settings.annotations else "the unsplit detector",
        "energies": list(config.energies),
        "steps": list(config.steps),
        "context_model": NEIGHBOURS,
        "fitted_on": "other images" if settings.fit_images else "the same images",
    }
    known, unsplit = _known(partial, head)
    unsplit = unsplit or unsplit_accuracy(detector, labelled, config.input_size)
    cuts: list[CutStudy] = []
    for cut in study_cuts(detector, labelled, images, config, known):
        cuts.append(cut)
        write_json(partial, {**head, "unsplit": asdict(unsplit), "cuts": [cut_to_json(one) for one in cuts]})
    record = {**head, "unsplit": asdict(unsplit), "cuts": [cut_to_json(one) for one in cuts], **environment()}
    write_json(settings.out, record)
    partial.unlink(missing_ok=True)
    return record


def _fit_images(settings: SplitPointsSettings) -> list[Path]:
    """Return the images to fit on, spread evenly over their folder."""
    if settings.fit_images is None:
        return spread(find_images([settings.images]), settings.fit_limit)
    exclude = [settings.annotations] if settings.annotations else []
    return spread(find_images([settings.fit_images], exclude), settings.fit_limit)


def _labelled(settings: SplitPointsSettings, detector: Detector, scratch: Path) -> LabelledSet:
    """Return the images to measure on with what is to be found in them."""
    limit, classes = settings.limit or None, family_of(settings.model).classes(detector)
    if settings.annotations is not None:
        names = class_names_of(settings.annotations)
        if len(names) != classes:
            found = f"{settings.annotations} names {len(names)} classes"
            raise ConfigError(f"{found}, {settings.weights} knows {classes}: give annotations of its own")
        return LabelledSet(settings.images, settings.annotations, names, limit)
    names = tuple(f"class {i}" for i in range(classes))
    paths = find_images([settings.images])[:limit]
    path = scratch / "believed.json"
    path.write_text(json.dumps(believed_truth(detector, paths, settings.images, names, settings.config.input_size)))
    return LabelledSet(settings.images, path, names)


@torch.inference_mode()
def believed_truth(
    detector: Detector, paths: Sequence[Path], folder: Path, class_names: Sequence[str], input_size: int
) -> dict[str, Any]:
    """Return COCO annotations of what a detector is sure of in images below a folder, which they are named from."""
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for number, path in enumerate(paths, start=1):
        images.append({"id": number, "file_name": str(path.relative_to(folder))})
        found = unsplit_detections(detector, path, input_size)
        for box, score, label in zip(found.boxes.tolist(), found.scores, found.labels, strict=True):
            x, y, width, height = box[0], box[1], box[2] - box[0], box[3] - box[1]
            if score >= BELIEVED and min(width, height) > 0:
                place = {"bbox": [x, y, width, height], "area": width * height, "iscrowd": 0}
                objects.append({"id": len(objects) + 1, "image_id": number, "category_id": int(label) + 1, **place})
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(class_names)]
    return {"images": images, "annotations": objects, "categories": categories}


def _known(partial: Path, head: Mapping[str, Any]) -> tuple[list[CutStudy], Accuracy | None]:
    """Return what an interrupted run of the same study has left."""
    try:
        left = json.loads(partial.read_text())
        if any(left[key] != value for key, value in head.items()):
            return [], None
        return [cut_from_json(cut) for cut in left["cuts"]], Accuracy(**left["unsplit"])
    except (OSError, ValueError, KeyError, TypeError, ConfigError):
        return [], None  # none, damaged, or of another study: it is measured anew


def _run(settings: SplitPointsSettings) -> str:
    record = run_study(settings)
    text = as_text(record, settings.device_mmacs, settings.bytes)
    if not can_draw():
        return f"{text}\nnot drawn: that needs matplotlib, of the extra [demo]"
    return f"{text}\ndrawn to {' '.join(map(str, draw_study(settings.out, record)))}"


COMMAND = Command("split-points", "measure where a detector is best cut", SplitPointsSettings, _run)
