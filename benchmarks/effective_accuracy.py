"""Average precision of a whole run, in which a frame that comes late or never counts as one without detections.

Every labelled picture goes once through every operating point, by the real bitstream, and its detections are
matched against its boxes once, by pycocotools (area "all", at most 100 detections of a class). A run is then only
a number of times that each (picture, operating point) was seen, and its average precision is that of COCO over
all these frames: detections of all of them ranked together, boxes of all of them to be found, those of late
and dropped frames too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from edge_client.config import parse_point
from splitnet.errors import ConfigError
from splitnet.manifest import Accuracy
from splitnet.operating_point import LOCAL, OperatingPoint

RECALLS = np.linspace(0, 1, 101)  # as COCO interpolates
FORMAT_VERSION = 1


@dataclass(frozen=True, eq=False)
class FrameBank:
    """What every picture costs and gives at every operating point.

    The detections of all pictures and points lie in one list, by class and then by falling score. T is the number
    of overlap thresholds (10), P that of points, N that of pictures, C that of classes, D that of detections.
    """

    points: tuple[OperatingPoint, ...]
    payload: NDArray[np.int64]  # (N, P) bytes; 0 for LOCAL
    boxes: NDArray[np.int64]  # (N, C) boxes to be found
    frame: NDArray[np.int64]  # (D,) picture * P + point
    label: NDArray[np.int64]  # (D,) class, ascending
    hit: NDArray[np.bool_]  # (T, D) it has found a box
    miss: NDArray[np.bool_]  # (T, D) it has found none, and not a crowd either

    @property
    def pictures(self) -> int:
        """The number of pictures."""
        return len(self.payload)

    def payload_bytes(self, position: int, point: OperatingPoint) -> int:
        """Return the size of a frame; positions beyond the last picture start over."""
        return int(self.payload[position % self.pictures, self._column(point)])

    def effective_ap(self, outcomes: Sequence[tuple[int, OperatingPoint | None]]) -> Accuracy:
        """Return the accuracy of frames given as (position, operating point); None: late, or never detected."""
        seen = np.zeros(self.payload.size, np.int64)
        shown = np.zeros(self.pictures, np.int64)
        for (position, point), count in Counter(outcomes).items():
            shown[position % self.pictures] += count
            if point is not None:
                seen[position % self.pictures * len(self.points) + self._column(point)] += count
        precision = self._precision(seen[self.frame], shown @ self.boxes)
        return Accuracy(round(100 * float(precision.mean()), 2), round(100 * float(precision[:, 0].mean()), 2))

    def _precision(self, weight: NDArray[np.int64], boxes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the interpolated precision (classes that occur, T) of detections that were each seen some times."""
        ends = np.searchsorted(self.label, np.arange(len(boxes) + 1))
        spans = [(slice(ends[c], ends[c + 1]), boxes[c]) for c in np.flatnonzero(boxes)]
        return np.array([
            [_interpolated(weight[span] * hit[span], weight[span] * miss[span], count)
             for hit, miss in zip(self.hit, self.miss, strict=True)]
            for span, count in spans
        ])  # fmt: skip

    def _column(self, point: OperatingPoint) -> int:
        try:
            return self.points.index(point)
        except ValueError:
            raise ConfigError(f"the frame bank lacks {point}; delete its file under runs/ to make it anew") from None

    def save(self, path: Path) -> None:
        """Write the bank to a file (.npz)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        names = json.dumps({"version": FORMAT_VERSION, "points": [str(point) for point in self.points]})
        arrays = {name: getattr(self, name) for name in ("payload", "boxes", "frame", "label", "hit", "miss")}
        np.savez_compressed(path, names=np.array(names), **arrays)


def load_bank(path: Path) -> FrameBank:
    """Read what `FrameBank.save` has written. Raises ConfigError if it is something else."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in ("payload", "boxes", "frame", "label", "hit", "miss")}
            names = json.loads(str(stored["names"]))
        if names["version"] != FORMAT_VERSION:
            raise ValueError(f"version {names['version']}")
        points = tuple(LOCAL if name == str(LOCAL) else parse_point(name) for name in names["points"])
    except (OSError, EOFError, BadZipFile, ValueError, KeyError) as error:
        raise ConfigError(f"{path} is not a frame bank ({error}); delete it to make it anew") from error
    return FrameBank(points, **arrays)


def assemble(
    points: Sequence[OperatingPoint], payload: NDArray[np.int64], evaluations: Sequence[Any], classes: int
) -> FrameBank:
    """Return the bank of points from what pycocotools has matched.

    payload: (N, P) bytes. evaluations: for each point the list `COCOeval.evalImgs` of its detections, of one area
    range, class by class and within each picture by picture.
    """
    pictures = len(payload)
    boxes = np.zeros((pictures, classes), np.int64)
    columns: list[tuple[int, int, Any]] = []  # frame, class, what was matched
    for column, images in enumerate(evaluations):
        for index, image in enumerate(images):
            label, picture = divmod(index, pictures)
            if image is not None:
                boxes[picture, label] = np.count_nonzero(np.asarray(image["gtIgnore"]) == 0)
                columns.append((picture * len(points) + column, label, image))
    score = np.concatenate([np.asarray(image["dtScores"], np.float64) for _, _, image in columns])
    counts = [len(image["dtScores"]) for _, _, image in columns]
    frame, label_of = (np.repeat([c[i] for c in columns], counts).astype(np.int64) for i in (0, 1))
    matched = np.concatenate([np.asarray(image["dtMatches"]) > 0 for _, _, image in columns], axis=1)
    ignored = np.concatenate([np.asarray(image["dtIgnore"]) > 0 for _, _, image in columns], axis=1)
    order = np.lexsort((-score, label_of))
    hit, miss = (matched & ~ignored)[:, order], (~matched & ~ignored)[:, order]
    return FrameBank(tuple(points), payload, boxes, frame[order], label_of[order], hit, miss)


def _interpolated(hits: NDArray[np.int64], misses: NDArray[np.int64], boxes: int) -> float:
    """Return COCO's average of the precision at 101 recalls, of detections by falling score."""
    found, wrong = np.cumsum(hits), np.cumsum(misses)
    precision = found / np.maximum(found + wrong, 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    index = np.searchsorted(found / boxes, RECALLS, side="left")
    return float(np.concatenate([envelope, [0.0]])[np.minimum(index, len(envelope))].mean())
