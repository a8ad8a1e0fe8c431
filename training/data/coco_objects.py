"""The objects of a COCO annotation file: which are of use, and what is wrong with the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.data.coco_file import Labels, is_id
from training.data.data_problems import DataProblems
from training.data.image_check import Header

MIN_BOX_SIDE = 1.0  # pixels, after clipping

Box = tuple[float, float, float, float]  # xyxy, pixels


@dataclass
class Gathered:
    """An image whose objects are being read."""

    path: Path
    header: Header
    boxes: list[Box] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    crowd_boxes: list[Box] = field(default_factory=list)
    crowd_labels: list[int] = field(default_factory=list)


@dataclass
class ObjectReader:
    """Reads annotations one by one: an object goes to its image, an oddity to the problems."""

    path: Path  # of the annotation file
    labels: Labels
    gathered: Mapping[int, Gathered]  # the images that are of use, by id
    left_out: Set[int]  # ids of images of which all is said already
    problems: DataProblems
    keeps_crowds: bool = False  # a measurement ignores what is found in them
    _ids: set[int] = field(default_factory=set)
    _objects: set[tuple[Any, ...]] = field(default_factory=set)

    def read(self, index: int, entry: Any) -> None:
        """Read the annotation of this index in the file."""
        where = f"{self.path} annotation {index}"
        if not isinstance(entry, dict):
            self.problems.add("annotation that is no object of JSON, left out", where)
            return
        where += f" (id {entry.get('id')})"
        problem = self._problem(entry)
        if problem is None:
            self._take(entry, where)
        elif problem:
            self.problems.add(f"{problem}, left out", where)

    def _problem(self, entry: Mapping[str, Any]) -> str | None:
        """Return why an annotation is of no use, "" if its image says it already, None if it is of use."""
        image_id, category, box = entry.get("image_id"), entry.get("category_id"), entry.get("bbox")
        if not is_id(image_id) or image_id not in self.gathered:
            return "" if is_id(image_id) and image_id in self.left_out else "annotation of an unknown image id"
        if not is_id(category) or category not in self.labels.by_category:
            return "annotation of an unknown category id"
        if _is_crowd(entry) and not self.keeps_crowds:
            return "crowd"
        if not isinstance(box, list) or len(box) != 4 or not all(_is_finite(value) for value in box):
            return "box that is not four finite numbers"
        return None if box[2] > 0 and box[3] > 0 else "box without area"

    def _take(self, entry: Mapping[str, Any], where: str) -> None:
        """Add an object to its image, clipped."""
        image = self.gathered[entry["image_id"]]
        x, y, width, height = entry["bbox"]
        right, bottom = image.header.width, image.header.height
        box = max(x, 0.0), max(y, 0.0), min(x + width, right), min(y + height, bottom)
        if min(box[2] - box[0], box[3] - box[1]) < MIN_BOX_SIDE:
            outside = box[2] <= box[0] or box[3] <= box[1]
            self.problems.add(f"box {'outside its image' if outside else 'under a pixel'}, left out", where)
        elif self._is_new(entry, where):
            # Files round to a tenth or a whole pixel: that much beyond the edge is nobody's mistake.
            if min(x, y) < -1 or x + width > right + 1 or y + height > bottom + 1:
                self.problems.add("box clipped to its image", where)
            is_crowd = _is_crowd(entry)
            (image.crowd_boxes if is_crowd else image.boxes).append(box)
            label = self.labels.by_category[entry["category_id"]]
            (image.crowd_labels if is_crowd else image.labels).append(label)

    def _is_new(self, entry: Mapping[str, Any], where: str) -> bool:
        """Return whether an object is there for the first time; a number that is not its own is only noted."""
        key = (entry["image_id"], entry["category_id"], _is_crowd(entry), *entry["bbox"])
        if key in self._objects:
            self.problems.add("object that is there twice, left out", where)
            return False
        self._objects.add(key)
        if is_id(entry.get("id")):
            if entry["id"] in self._ids:
                self.problems.add("annotation with the id of another one, kept", where)
            self._ids.add(entry["id"])
        return True


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9 and math.isfinite(value)


def _is_crowd(entry: Mapping[str, Any]) -> bool:
    return entry.get("iscrowd") not in (None, 0, "0", "")
