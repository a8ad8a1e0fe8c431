"""The accuracy of a run with late and repeated frames, against pycocotools on the same frames."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks.adaptation.effective_accuracy import FrameBank, assemble, load_bank
from splitnet.errors import ConfigError
from splitnet.operating_point import LOCAL, SKIP, Codec, OperatingPoint

POINTS = (OperatingPoint(Codec.RANS, 1, 0), OperatingPoint(Codec.JPEG, 0, 50), LOCAL)
IMAGES, CLASSES = 5, 3
Found = list[list[dict[str, Any]]]  # for each image its detections, without their image


def random_boxes(rng: np.random.Generator, count: int) -> list[list[float]]:
    return [[*rng.uniform(0, 200, 2).tolist(), *rng.uniform(20, 120, 2).tolist()] for _ in range(count)]


def made_up() -> tuple[list[list[dict[str, Any]]], list[Found]]:
    """Return the objects of each image, and for each point what is found there: shaken objects and nonsense."""
    rng = np.random.default_rng(7)
    objects = [
        [
            {"category_id": int(rng.integers(1, CLASSES + 1)), "bbox": box, "iscrowd": int(rng.random() < 0.1)}
            for box in random_boxes(rng, int(rng.integers(1, 6)))
        ]
        for _ in range(IMAGES)
    ]
    found: list[Found] = []
    for shake in (30.0, 12.0, 4.0):
        shaken = [[_shaken(rng, one, shake) for one in image if rng.random() < 0.8] for image in objects]
        noise = [[_noise(rng, box) for box in random_boxes(rng, 2)] for _ in range(IMAGES)]
        found.append([a + b for a, b in zip(shaken, noise, strict=True)])
    return objects, found


def _shaken(rng: np.random.Generator, one: dict[str, Any], shake: float) -> dict[str, Any]:
    bbox = np.maximum(np.array(one["bbox"]) + rng.normal(0, shake, 4), 1.0).tolist()
    return {"category_id": one["category_id"], "bbox": bbox, "score": float(rng.uniform(0.2, 1))}


def _noise(rng: np.random.Generator, box: list[float]) -> dict[str, Any]:
    return {"category_id": int(rng.integers(1, CLASSES + 1)), "bbox": box, "score": float(rng.uniform(0, 0.8))}


def truth_of(images: list[list[dict[str, Any]]]) -> COCO:
    annotations = [
        {**one, "id": 1 + 100 * i + j, "image_id": i + 1, "area": one["bbox"][2] * one["bbox"][3]}
        for i, image in enumerate(images)
        for j, one in enumerate(image)
    ]
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i + 1} for i in range(len(images))],
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": str(i)} for i in range(CLASSES)],
    }
    coco.createIndex()
    return coco


def evaluation(truth: COCO, found: Found) -> COCOeval:
    rows = [{**one, "image_id": i + 1} for i, image in enumerate(found) for one in image]
    return COCOeval(truth, truth.loadRes(rows) if rows else COCO(), "bbox")


@pytest.fixture(scope="module")
def bank() -> FrameBank:
    objects, points = made_up()
    evaluations = []
    with contextlib.redirect_stdout(io.StringIO()):
        truth = truth_of(objects)
        for found in points:
            one = evaluation(truth, found)
            one.params.areaRng, one.params.areaRngLbl = [[0, 1e10]], ["all"]
            one.evaluate()
            evaluations.append([image for image in one.evalImgs if image is not None])
    payload = np.arange(IMAGES * len(POINTS)).reshape(IMAGES, -1) * 100
    return assemble(POINTS, payload, evaluations, range(1, IMAGES + 1), range(1, CLASSES + 1))


def by_pycocotools(frames: list[tuple[int, OperatingPoint | None]]) -> tuple[float, float]:
    """Return AP and AP50 with every frame as a figure of its own."""
    objects, points = made_up()
    seen = [[] if point is None else points[POINTS.index(point)][image] for image, point in frames]
    with contextlib.redirect_stdout(io.StringIO()):
        one = evaluation(truth_of([objects[image] for image, _ in frames]), seen)
        one.evaluate()
        one.accumulate()
        one.summarize()
    return round(100 * float(one.stats[0]), 2), round(100 * float(one.stats[1]), 2)


RUNS = {
    "each once": [(i, POINTS[0]) for i in range(IMAGES)],
    "several points": [(i % IMAGES, POINTS[i % 3]) for i in range(17)],
    "some late": [(i % IMAGES, None if i % 4 == 0 else POINTS[i % 2]) for i in range(23)],
    "one image": [(2, LOCAL)] * 4,
    "nothing found": [(i, None) for i in range(IMAGES)],
}


@pytest.mark.parametrize("name", RUNS)
def test_it_is_what_pycocotools_says_of_the_same_frames(bank, name):
    accuracy = bank.effective_ap(RUNS[name])
    expected = by_pycocotools(RUNS[name])
    assert (accuracy.ap, accuracy.ap50) == pytest.approx(expected, abs=0.011)


def test_a_late_frame_costs_accuracy(bank):
    whole = [(i, LOCAL) for i in range(IMAGES)]
    assert bank.effective_ap([*whole[1:], (0, None)]).ap < bank.effective_ap(whole).ap


def test_positions_beyond_the_last_image_start_over(bank):
    later = [(i + 3 * IMAGES, LOCAL) for i in range(IMAGES)]
    assert bank.effective_ap(later) == bank.effective_ap([(i, LOCAL) for i in range(IMAGES)])
    assert bank.payload_bytes(IMAGES + 1, POINTS[1]) == bank.payload_bytes(1, POINTS[1]) == 400


def test_an_unknown_point_is_said(bank):
    with pytest.raises(ConfigError, match="lacks skip"):
        bank.effective_ap([(0, SKIP)])


def test_a_bank_survives_its_file(bank, tmp_path: Path):
    bank.save(tmp_path / "runs" / "bank.npz")
    again = load_bank(tmp_path / "runs" / "bank.npz")
    assert again.points == bank.points
    assert again.effective_ap(RUNS["some late"]) == bank.effective_ap(RUNS["some late"])


@pytest.mark.parametrize("content", [b"", b"not a zip", json.dumps({}).encode()])
def test_another_file_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "bank.npz").write_bytes(content)
    with pytest.raises(ConfigError, match="not a frame bank"):
        load_bank(tmp_path / "bank.npz")
