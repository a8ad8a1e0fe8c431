"""Agreement with a reference detector's boxes, whatever their classes.

A clip has few classes and few boxes of most; averaged over classes, precision would be noise.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence

from splitnet.detections import Detections

CERTAIN = 0.3  # score from which on a reference box counts as an object


def fidelity(reference: Sequence[Detections], found: Sequence[Detections]) -> float:
    """Return COCO's AP in percent of what was found, frame by frame, with the reference's certain boxes as truth."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth = [
        {"id": number, "image_id": frame, "bbox": box, "area": box[2] * box[3], "iscrowd": 0, "category_id": 1}
        for number, (frame, box, _) in enumerate(_boxes(reference, CERTAIN), start=1)
    ]
    guesses = [
        {"image_id": frame, "bbox": box, "score": score, "category_id": 1} for frame, box, score in _boxes(found, 0.0)
    ]
    if not truth:
        return float("nan")
    if not guesses:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        labelled = COCO()
        images = [{"id": frame} for frame in range(1, len(reference) + 1)]
        labelled.dataset = {"images": images, "annotations": truth, "categories": [{"id": 1, "name": "object"}]}
        labelled.createIndex()
        judged = COCOeval(labelled, labelled.loadRes(guesses), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return 100 * float(judged.stats[0])


def _boxes(frames: Sequence[Detections], least: float) -> Iterator[tuple[int, list[float], float]]:
    """Yield (frame from 1, box as x, y, width, height, score) of all objects above a score."""
    for number, frame in enumerate(frames, start=1):
        for (x0, y0, x1, y1), score in zip(frame.boxes.tolist(), frame.scores.tolist(), strict=True):
            if score > least:
                yield number, [x0, y0, x1 - x0, y1 - y0], float(score)
