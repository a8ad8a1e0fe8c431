"""Small and crowded objects: what should be found, and what was."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.accuracy.failures import (
    FOUND,
    MAX_FILE_BYTES,
    MISSED,
    PANEL_SIZE,
    Scene,
    compressed,
    drawn,
    missed,
    mosaic,
)
from splitnet.detections import Detections


def scene(grey: int, *boxes: tuple[float, float, float, float], label: int = 3) -> Scene:
    image = np.full((48, 64, 3), grey, np.uint8)
    return Scene(image, np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), label, np.int32))


def found(*boxes: tuple[float, float, float, float], label: int = 3) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.ones(count, np.float32), np.full(count, label, np.int32)
    )


def test_a_mosaic_of_one_is_the_image_itself():
    single = scene(7, (10, 10, 30, 40))
    made = mosaic([single], 1)
    assert np.array_equal(made.image, single.image)
    assert made.boxes.tolist() == single.boxes.tolist()


def test_a_mosaic_takes_images_in_turn_and_their_objects_along():
    made = mosaic([scene(10, (0, 0, 64, 48)), scene(20), scene(30, (32, 24, 64, 48), label=5)], 2)
    assert made.image.shape == (48, 64, 3)
    assert made.image[::24, ::32, 0].tolist() == [[10, 20], [30, 10]]
    assert made.boxes.tolist() == [[0, 0, 32, 24], [16, 36, 32, 48], [32, 24, 64, 48]]
    assert made.labels.tolist() == [3, 5, 3]


def test_an_object_is_found_by_a_box_of_its_class_that_overlaps_it_by_half():
    wanted = scene(0, (0, 0, 10, 10), (20, 20, 30, 30))
    assert missed(wanted, found((0, 0, 10, 12))).tolist() == [False, True]
    assert missed(wanted, found((0, 0, 10, 21))).tolist() == [True, True]
    assert missed(wanted, found((0, 0, 10, 10), label=4)).tolist() == [True, True]
    assert missed(wanted, found()).tolist() == [True, True]
    assert missed(scene(0), found((0, 0, 10, 10))).tolist() == []


def test_one_box_finds_one_object():
    wanted = scene(0, (0, 0, 10, 10), (0, 0, 10, 11))
    assert missed(wanted, found((0, 0, 10, 11))).tolist() == [True, False]


def test_a_panel_shows_what_was_found_and_what_was_missed():
    panel = drawn(scene(0, (8, 8, 24, 24), (40, 8, 56, 24)), np.array([False, True]), "w4 q5")
    assert panel.shape == (PANEL_SIZE[1], PANEL_SIZE[0], 3)
    assert tuple(panel[100, 50].tolist()) == FOUND
    assert tuple(panel[100, 250].tolist()) == MISSED


def test_an_image_keeps_to_its_size():
    noise = np.random.default_rng(0).integers(0, 256, (300, 800, 3), dtype=np.uint8)
    data = compressed(noise)
    assert len(data) <= MAX_FILE_BYTES
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == noise.shape


def test_a_run_counts_at_every_size_and_draws_some(tiny_bundle, tmp_path, monkeypatch):
    pytest.importorskip("skimage")
    monkeypatch.setattr("benchmarks.accuracy.failures.CERTAIN", 0.0)  # random weights are sure of nothing
    monkeypatch.setattr("benchmarks.accuracy.failures.SEEN", 0.0)
    out = tmp_path / "results" / "failures.json"
    assert main(["failures", "--bundle", str(tiny_bundle), "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert result["ways"] == ["unsplit", "w4 q2", "w1 q0"]
    assert [row["photographs_a_side"] for row in result["scenes"]] == [2, 3, 4, 6]
    assert all(0 <= row[way] <= row["objects"] for row in result["scenes"] for way in result["ways"])
    assert result["scenes"][0]["objects"] > 0
    for name in ("failures-2.jpg", "failures-4.jpg"):
        assert cv2.imread(str(out.with_name(name))).shape == (PANEL_SIZE[1], 3 * PANEL_SIZE[0], 3)
