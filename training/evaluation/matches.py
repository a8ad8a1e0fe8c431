"""Detections matched against the labelled objects once; from then on average precision of any resample is arithmetic.

pycocotools matches every image by itself and accumulates over images afterwards. The matches are kept here, and
the accumulation is done for many resamples of the images at once, a resample being how often it counts each image.
With every image counted once the result is that of pycocotools (a test says so).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RECALLS = np.linspace(0.0, 1.0, 101)  # at which COCO samples precision
THRESHOLDS = 10  # overlaps 0.50, 0.55 .. 0.95

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Evaluated = Mapping[str, Any]  # what pycocotools notes of one class in one image


@dataclass(frozen=True, eq=False)
class ClassMatches:
    """What became of the detections of one class, best score first."""

    images: Integers  # (n,) index of the image of each
    hits: Bools  # (THRESHOLDS, n) whether it is an object that nothing better has found
    ignored: Bools  # (THRESHOLDS, n) it shows a crowd: neither right nor wrong
    objects: Integers  # (images,) how many there are to be found in each

    def within(self, counted: Bools) -> ClassMatches:
        """Return those in the images that count, (images,)."""
        kept = counted[self.images]
        if kept.all():
            return self
        return ClassMatches(self.images[kept], self.hits[:, kept], self.ignored[:, kept], self.objects)


@dataclass(frozen=True, eq=False)
class Matches:
    """What became of all detections in a number of images."""

    images: int
    classes: tuple[ClassMatches, ...]

    def average_precision(self, counts: NDArray[Any]) -> Floats:
        """Return AP in percent at each threshold (resamples, THRESHOLDS); its mean is COCO's AP, the first AP50.

        counts: (resamples, images), how often each resample counts each image. Classes of which a resample has
        no object do not enter its mean; a resample without any object has AP 0.
        """
        counts = np.asarray(counts, np.float64)
        counted = np.asarray(counts.any(axis=0))
        total = np.zeros((len(counts), THRESHOLDS))
        present = np.zeros(len(counts))
        for one in self.classes:
            objects = counts @ one.objects.astype(np.float64)
            total += _class_precision(one.within(counted), counts, objects)
            present += objects > 0
        return np.asarray(100 * total / np.maximum(present, 1)[:, None])


def _class_precision(one: ClassMatches, counts: Floats, objects: Floats) -> Floats:
    """Return the average precision (resamples, THRESHOLDS) of a class, 0..1; 0 where there is nothing to be found."""
    result = np.zeros((len(counts), THRESHOLDS))
    if not one.hits.any():
        return result
    weights = counts[:, one.images]
    for t in range(THRESHOLDS):
        right = np.flatnonzero(one.hits[t])  # recall rises there only, and between two of them precision falls
        if right.size:
            seen = np.cumsum(weights * ~one.ignored[t], axis=1)
            result[:, t] = _area(np.cumsum(weights[:, right], axis=1), seen[:, right], objects)
    return result


def _area(right: Floats, seen: Floats, objects: Floats) -> Floats:
    """Return the mean over RECALLS of the best precision at that recall or a higher one (resamples,).

    right, seen: (resamples, n) how many detections were right, and how many there were, up to each right one.
    """
    recall = right / np.maximum(objects, 1)[:, None]
    precision = right / (seen + np.spacing(1))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    reached = np.searchsorted(RECALLS, recall.ravel(), side="right").reshape(recall.shape)
    steps = np.diff(reached, axis=1, prepend=0)
    area: Floats = (steps * best).sum(axis=1) / len(RECALLS)
    return np.where(objects > 0, area, 0.0)


def matches_from_coco(evaluated: Iterable[Evaluated], image_ids: Sequence[int], category_ids: Sequence[int]) -> Matches:
    """Return what `COCOeval.evaluate` has left in `evalImgs`, for one range of areas."""
    index = {image_id: i for i, image_id in enumerate(image_ids)}
    by_class: dict[int, list[Evaluated]] = {category: [] for category in category_ids}
    for one in evaluated:
        by_class[one["category_id"]].append(one)
    return Matches(len(image_ids), tuple(_of_class(found, index) for found in by_class.values() if found))


def _of_class(found: Sequence[Evaluated], index: Mapping[int, int]) -> ClassMatches:
    objects = np.zeros(len(index), np.int64)
    for one in found:
        objects[index[one["image_id"]]] = np.count_nonzero(np.asarray(one["gtIgnore"]) == 0)
    scores = np.concatenate([one["dtScores"] for one in found])
    order = np.argsort(-scores, kind="stable")
    images = np.concatenate([np.full(len(one["dtScores"]), index[one["image_id"]], np.int64) for one in found])
    ignored = np.concatenate([np.asarray(one["dtIgnore"], np.bool_) for one in found], axis=1)[:, order]
    matched = np.concatenate([np.asarray(one["dtMatches"]) != 0 for one in found], axis=1)[:, order]
    return ClassMatches(images[order], matched & ~ignored, ignored, objects)
