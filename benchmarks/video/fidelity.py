"""Agreement with a reference detector's boxes, whatever their classes.

A clip has few classes and few boxes of most; averaged over classes, precision would be noise.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from splitnet.detections import Detections


class Box(NamedTuple):
    """An object of one frame."""

    frame: int
    corner_and_size: list[float]  # x, y, width, height
    score: float
    label: int


CERTAIN = 0.3  # score from which on a reference box counts as an object


def fidelity(reference: Sequence[Detections], found: Sequence[Detections]) -> float:
    """Return COCO's AP in percent of what was found, frame by frame, with the reference's certain boxes as truth."""
    return _ap(list(_boxes(reference, CERTAIN)), list(_boxes(found, 0.0)), len(reference), by_class=False)


def labelled_ap(labels: Sequence[Detections], found: Sequence[Detections]) -> float:
    """Return COCO's AP in percent, averaged over classes as usual, with labels of each frame as truth."""
    return _ap(list(_boxes(labels, 0.0)), list(_boxes(found, 0.0)), len(labels), by_class=True)


def _ap(truth_boxes: Sequence[Box], found_boxes: Sequence[Box], frames: int, by_class: bool) -> float:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = [
        {
            "id": number,
            "image_id": one.frame,
            "bbox": one.corner_and_size,
            "area": one.corner_and_size[2] * one.corner_and_size[3],
            "iscrowd": 0,
            "category_id": one.label if by_class else 0,
        }
        for number, one in enumerate(truth_boxes, start=1)
    ]
    guesses = [
        {
            "image_id": one.frame,
            "bbox": one.corner_and_size,
            "score": one.score,
            "category_id": one.label if by_class else 0,
        }
        for one in found_boxes
    ]
    if not truth:
        return float("nan")
    if not guesses:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        labelled = COCO()
        images = [{"id": frame} for frame in range(1, frames + 1)]
        categories = [{"id": label} for label in sorted({int(str(one["category_id"])) for one in (*truth, *guesses)})]
        labelled.dataset = {"images": images, "annotations": truth, "categories": categories}
        labelled.createIndex()
        judged = COCOeval(labelled, labelled.loadRes(guesses), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return 100 * float(judged.stats[0])


def _boxes(frames: Sequence[Detections], least: float) -> Iterator[Box]:
    """Yield all objects above a score; frames count from 1."""
    for number, frame in enumerate(frames, start=1):
        for (x0, y0, x1, y1), score, label in zip(
            frame.boxes.tolist(), frame.scores.tolist(), frame.labels.tolist(), strict=True
        ):
            if score > least:
                yield Box(number, [x0, y0, x1 - x0, y1 - y0], float(score), int(label))
