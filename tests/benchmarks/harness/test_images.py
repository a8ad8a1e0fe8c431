import sys

import cv2
import numpy as np
import pytest

from benchmarks.harness.images import frames_from, sample_images
from splitnet.errors import ConfigError


def test_five_photographs_come_with_scikit_image():
    found = sample_images()
    assert list(found) == ["astronaut", "cat", "coffee", "camera", "motorcycle"]
    assert all(image.dtype == np.uint8 and image.shape[2] == 3 for image in found.values())


def test_images_are_blue_green_red():
    blue, green, red = sample_images()["coffee"][200, 100].tolist()  # the red saucer
    assert red > green > blue


def test_a_missing_scikit_image_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ConfigError, match=r"\[demo\]"):
        sample_images()


def test_images_that_would_be_downloaded_are_refused(monkeypatch):
    from skimage import data

    def absent():
        raise ModuleNotFoundError("requires pooch")

    monkeypatch.setattr(data, "chelsea", absent)
    with pytest.raises(ConfigError, match="lacks its images"):
        sample_images()


def test_frames_of_a_folder_come_by_name_without_what_is_no_image(tmp_path):
    for name, grey in (("b.png", 20), ("a.png", 10)):
        cv2.imwrite(str(tmp_path / name), np.full((4, 4, 3), grey, np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    assert [int(frame[0, 0, 0]) for frame in frames_from(tmp_path, 10)] == [10, 20]
    assert len(frames_from(tmp_path, 1)) == 1


@pytest.mark.parametrize("name", [".", "nothing"])
def test_a_folder_without_images_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="holds no images"):
        frames_from(tmp_path / name, 10)
