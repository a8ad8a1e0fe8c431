"""COCO's average precision, by pycocotools. Needs the `train` extra."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.manifest import Accuracy
from training.evaluation.matches import Evaluated, Matches, matches_from_coco


@dataclass(frozen=True)
class EvaluationImage:
    """One image of the evaluation set."""

    image_id: int
    path: Path


class LabelledSet:
    """Images with their COCO annotations."""

    images: list[EvaluationImage]  # by id

    def __init__(self, folder: Path, annotations: Path, class_names: Sequence[str], limit: int | None = None) -> None:
        """Read annotations; ConfigError if they, the images or the classes do not fit together."""
        from pycocotools.coco import COCO

        try:
            with contextlib.redirect_stdout(io.StringIO()):
                self._truth: Any = COCO(str(annotations))
                images = sorted(self._truth.loadImgs(self._truth.getImgIds()), key=lambda image: int(image["id"]))
            self.images = [EvaluationImage(i["id"], folder / i["file_name"]) for i in images[:limit]]
            self._categories = self._category_ids(class_names, annotations)
        except (OSError, ValueError, KeyError, TypeError, AssertionError) as error:
            raise ConfigError(f"{annotations} is not a COCO annotation file: {error!r}") from error
        missing = [image.path for image in self.images if not image.path.is_file()]
        if missing:
            raise ConfigError(f"{folder} lacks {len(missing)} of the images in {annotations}, as {missing[0].name}")
        self._require_objects(annotations)

    def _require_objects(self, annotations: Path) -> None:
        """Raise ConfigError if there is nothing to be found, or if a field is missing that counts."""
        objects = self._truth.loadAnns(self._truth.getAnnIds(self.image_ids))
        if not self.images or all(o.get("iscrowd") for o in objects):
            raise ConfigError(f"{annotations} has no object in {len(self.images)} images: nothing to measure")
        for name in ("bbox", "area", "iscrowd"):
            if any(name not in o for o in objects):
                raise ConfigError(f"{annotations} has objects without {name!r}")

    def _category_ids(self, class_names: Sequence[str], annotations: Path) -> list[int]:
        """Return the category id of each class, in the detector's order."""
        by_name = {c["name"]: int(c["id"]) for c in self._truth.dataset["categories"]}
        unknown = sorted(set(by_name) - set(class_names))
        if unknown:
            raise ConfigError(f"{annotations} has classes that the bundle does not know: {', '.join(unknown[:5])}")
        return [by_name.get(name, -1) for name in class_names]

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
        """The ids of all classes that are annotated, ascending."""
        return sorted(self._truth.getCatIds())

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
        return [self._truth_of(image.image_id) for image in self.images]

    def _truth_of(self, image_id: int) -> Detections:
        objects = [o for o in self._truth.loadAnns(self._truth.getAnnIds(image_id)) if not o.get("iscrowd")]
        xywh = np.array([o["bbox"] for o in objects], np.float32).reshape(-1, 4)
        labels = [self._categories.index(o["category_id"]) for o in objects]
        boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        return Detections(boxes, np.ones(len(objects), np.float32), np.array(labels, np.int32))

    def _rows(self, image_id: int, detections: Detections) -> list[dict[str, Any]]:
        sizes = detections.boxes[:, 2:] - detections.boxes[:, :2]
        xywh = np.concatenate([detections.boxes[:, :2], sizes], axis=1).tolist()
        labels, scores = detections.labels.tolist(), detections.scores.tolist()
        return [
            {"image_id": image_id, "category_id": self._categories[label], "bbox": box, "score": score}
            for box, label, score in zip(xywh, labels, scores, strict=True)
        ]


def class_names_of(annotations: Path) -> tuple[str, ...]:
    """Return the names of an annotation file's categories in order of their ids: the order of public weights.

    ConfigError if the file has none.
    """
    try:
        categories = json.loads(annotations.read_text())["categories"]
        return tuple(str(c["name"]) for c in sorted(categories, key=lambda c: int(c["id"])))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{annotations} is not a COCO annotation file: {error!r}") from error
