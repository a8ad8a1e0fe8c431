"""The images of a folder, good and bad."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest

from edge_client.capture.image_folder import open_folder
from splitnet.errors import SourceError
from tests.edge_client.capture.clips import never, shades, write_images


def test_images_come_in_the_order_of_the_numbers_in_their_names(tmp_path):
    write_images(tmp_path, 3)
    (tmp_path / "002.png").rename(tmp_path / "10.png")
    (tmp_path / "notes.txt").write_text("no image")
    images = list(open_folder(tmp_path, fps=10).images(never))
    assert shades(images) == [0, 1, 2]
    assert [shown.position_s for shown in images] == [0.0, 0.1, 0.2]
    assert [shown.file for shown in images] == ["000.png", "001.png", "10.png"]


def test_unreadable_images_are_counted_and_passed_over(tmp_path, caplog):
    write_images(tmp_path, 2)
    whole = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8))[1].tobytes()
    (tmp_path / "000b.jpg").write_bytes(whole[: len(whole) * 6 // 10])
    (tmp_path / "000c.png").write_bytes(b"")
    (tmp_path / "000d.png").mkdir()
    source = open_folder(tmp_path, fps=10)
    assert shades(source.images(never)) == [0, 1]
    assert source.unreadable == 3
    assert "000b.jpg: not an image that can be read (the JPEG file is truncated), passed over" in caplog.text


def test_a_name_may_be_any_bytes(tmp_path):
    write_images(tmp_path, 1)
    (tmp_path / "000.png").rename(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    assert [shown.file for shown in open_folder(tmp_path, fps=1).images(never)] == ["caf\udce9.png"]


def test_an_image_with_a_longer_side_than_the_wire_takes_is_passed_over(tmp_path):
    write_images(tmp_path, 1)
    cv2.imwrite(str(tmp_path / "wide.png"), np.zeros((1, 16_385, 3), np.uint8))
    source = open_folder(tmp_path, fps=1)
    assert (len(list(source.images(never))), source.unreadable) == (1, 1)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no images in this folder"):
        open_folder(tmp_path, fps=1)


def test_a_folder_without_one_readable_image_is_an_error(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"nothing")
    with pytest.raises(SourceError, match=r"none of the images can be read \(1 tried\)"):
        list(open_folder(tmp_path, fps=1).images(never))
