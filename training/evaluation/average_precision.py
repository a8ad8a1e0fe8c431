"""COCO's average precision, by pycocotools. Needs the `train` extra."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.manifest import Accuracy
from training.data.coco import Floats, LabelledImage, LabelledImages, read_coco
from training.evaluation.matches import Evaluated, Matches, matches_from_coco

log = logging.getLogger(__name__)


class ObjectSet:
    """Images with their objects, against which detections are measured.

    pycocotools is given ids of our own: it takes those of a file on trust, and objects of the same id for one.
    """

    def __init__(self, images: Sequence[LabelledImage], class_names: Sequence[str], labels: Sequence[int]) -> None:
        """Take images in the order of their ids, the classes of their objects, and the detector's label of each."""
        self.images = list(images)
        self._labels, self._class_names = list(labels), list(class_names)
        self._truth = _pycocotools_truth(self.images, class_names)

    def of_images(self, images: Sequence[LabelledImage]) -> ObjectSet:
        """Return some of the images, with the same classes."""
        return ObjectSet(images, self._class_names, self._labels)

    def accuracy(self, found: Sequence[Detections]) -> Accuracy:
        """Return AP and AP50 in percent of detections in pixels of the frames, one for each of `images`."""
        evaluation = self._evaluation(found)
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return Accuracy(round(100 * float(evaluation.stats[0]), 2), round(100 * float(evaluation.stats[1]), 2))

    def matches(self, found: Sequence[Detections]) -> Matches:
        """Return what became of detections in pixels of the frames, one for each of `images`."""
        return matches_from_coco(self.evaluated(found), self.image_ids, self.category_ids)

    def evaluated(self, found: Sequence[Detections]) -> list[Evaluated]:
        """Return pycocotools' own record of it (`evalImgs`) for each class and image with boxes, of all areas."""
        evaluation = self._evaluation(found)
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0.0, 1e10]], ["all"]
            evaluation.evaluate()
        return [one for one in evaluation.evalImgs if one is not None]

    @property
    def image_ids(self) -> list[int]:
        """The ids of `images`."""
        return [image.image_id for image in self.images]

    @property
    def category_ids(self) -> list[int]:
        """The ids of all classes that are annotated, ascending: pycocotools' own, from 1."""
        return list(range(1, len(self._labels) + 1))

    def _evaluation(self, found: Sequence[Detections]) -> Any:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        rows = [r for image, d in zip(self.images, found, strict=True) for r in self._rows(image.image_id, d)]
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(self._truth, self._truth.loadRes(rows) if rows else COCO(), "bbox")
        evaluation.params.imgIds = self.image_ids
        return evaluation

    def truth(self) -> list[Detections]:
        """Return the annotated objects of each image (crowds left out) as if they had been detected."""
        return [
            Detections(
                image.boxes,
                np.ones(len(image.labels), np.float32),
                np.array([self._labels[label] for label in image.labels], np.int32),
            )
            for image in self.images
        ]

    def _rows(self, image_id: int, detections: Detections) -> list[dict[str, Any]]:
        """Return detections as pycocotools takes them, without those of classes that are not annotated."""
        categories = {label: category for category, label in enumerate(self._labels, start=1)}
        return [
            {"image_id": image_id, "category_id": categories[label], "bbox": box, "score": score}
            for box, label, score in zip(
                _xywh(detections.boxes).tolist(), detections.labels.tolist(), detections.scores.tolist(), strict=True
            )
            if label in categories
        ]


class LabelledSet(ObjectSet):
    """Images with their COCO annotations, which went through the checks of a training (`training.data.coco`)."""

    def __init__(self, folder: Path, annotations: Path, class_names: Sequence[str], limit: int | None = None) -> None:
        """Read annotations; what is left out of them is logged.

        class_names: of the detector, in its order. limit: only the first images by id. ConfigError if annotations,
        images and classes do not fit together.
        """
        data = read_coco(annotations, folder, is_evaluated=True)
        self.problems = data.problems
        for line in data.problems.summary():
            log.warning(line)
        _require_files(data, folder, annotations, limit)
        images = sorted(data.images, key=lambda image: image.image_id)[:limit]
        if not any(len(image.labels) for image in images):
            raise ConfigError(f"{annotations} has no object in {len(images)} images: nothing to measure")
        super().__init__(images, data.class_names, _detector_labels(data.class_names, class_names, annotations))


def detected_set(own: Sequence[Detections]) -> ObjectSet:
    """Return images of which a detector's detections are the objects. ValueError if there are none."""
    images = [
        LabelledImage(Path(), 0, 0, one.boxes, one.labels.astype(np.int64), image_id=number)
        for number, one in enumerate(own, start=1)
    ]
    labels = sorted({int(label) for one in own for label in one.labels})
    if not labels:
        raise ValueError("nothing was detected, so there is nothing to be measured against")
    known = {label: i for i, label in enumerate(labels)}
    numbered = [replace(one, labels=np.array([known[int(x)] for x in one.labels], np.int64)) for one in images]
    return ObjectSet(numbered, [str(label) for label in labels], labels)


def accuracy_against(own: Sequence[Detections], found: Sequence[Detections]) -> Accuracy:
    """Return the accuracy of detections if those of another detector were the truth; all of it if there are none."""
    return detected_set(own).accuracy(found) if any(map(len, own)) else Accuracy(100.0, 100.0)


def _require_files(data: LabelledImages, folder: Path, annotations: Path, limit: int | None) -> None:
    """Raise ConfigError if one of the images that are to be measured on is not there."""
    wanted = sorted([*data.missing, *(image.image_id for image in data.images)])[:limit]
    missing = [data.missing[image_id] for image_id in wanted if image_id in data.missing]
    if missing:
        raise ConfigError(f"{folder} lacks {len(missing)} of the images in {annotations}, as {missing[0].name}")


def _detector_labels(annotated: Sequence[str], class_names: Sequence[str], annotations: Path) -> list[int]:
    """Return the detector's label of each annotated class."""
    unknown = sorted(set(annotated) - set(class_names))
    if unknown:
        raise ConfigError(f"{annotations} has classes that the bundle does not know: {', '.join(unknown[:5])}")
    return [class_names.index(name) for name in annotated]


def _pycocotools_truth(images: Sequence[LabelledImage], class_names: Sequence[str]) -> Any:
    """Return images as a `COCO`: categories from 1 in the order of their labels, annotations from 1."""
    from pycocotools.coco import COCO

    objects: list[dict[str, Any]] = []
    for image in images:
        for boxes, labels, is_crowd in (
            (image.boxes, image.labels, 0),
            (image.crowd_boxes, image.crowd_labels, 1),
        ):
            for box, label in zip(_xywh(boxes).tolist(), labels.tolist(), strict=True):
                ids = {"id": len(objects) + 1, "image_id": image.image_id, "category_id": label + 1}
                objects.append({**ids, "bbox": box, "area": box[2] * box[3], "iscrowd": is_crowd})
    truth: Any = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": image.image_id} for image in images],
        "annotations": objects,
        "categories": [{"id": i, "name": name} for i, name in enumerate(class_names, start=1)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return truth


def _xywh(boxes: Floats) -> Floats:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
