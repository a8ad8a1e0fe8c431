"""Pairs of neighbouring frames: cut alike, from clips or from a camera at rest."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from splitnet.errors import ConfigError
from training.data.crops import CropSpec
from training.data.neighbours import NeighbourFrames

SPEC = CropSpec(square=64, input_size=96)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8))
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (120, 90))
    for _ in range(3):
        writer.write(np.full((90, 120, 3), 80, np.uint8))
    writer.release()
    return path


def test_a_camera_at_rest_sees_the_same_twice_but_for_its_noise(image):
    first, second = NeighbourFrames((), [image], SPEC, 2)(np.random.default_rng(1)).astype(int)
    assert first.shape[0] == 2
    assert 0 < np.abs(first - second).mean() < 4


def test_both_frames_of_a_clips_pair_are_cut_and_lit_alike(clip):
    first, second = NeighbourFrames([clip], (), SPEC, 1)(np.random.default_rng(2))
    assert np.array_equal(first, second)


def test_the_same_draw_gives_the_same_pairs(image):
    pairs = NeighbourFrames((), [image], SPEC, 2)
    assert np.array_equal(pairs(np.random.default_rng(3)), pairs(np.random.default_rng(3)))


def test_nothing_to_draw_from_is_said():
    with pytest.raises(ConfigError, match="give clips or images"):
        NeighbourFrames((), (), SPEC, 1)


def test_a_file_that_is_no_clip_is_named(image, tmp_path):
    (tmp_path / "no.mp4").write_bytes(b"text")
    with pytest.raises(ConfigError, match=r"no\.mp4"):
        NeighbourFrames([tmp_path / "no.mp4"], [image], SPEC, 1)
