"""The example of both halves in one process, on the bundled detector and a photograph."""

from __future__ import annotations

import cv2
import pytest

from examples.one_process import main


def test_a_person_is_found_in_two_kilobytes_and_drawn(tmp_path, photo, capsys):
    assert cv2.imwrite(str(tmp_path / "photo.png"), photo)
    main(["--image", str(tmp_path / "photo.png"), "--quality", "0", "--out", str(tmp_path / "boxes.png")])
    caption, best, *_ = capsys.readouterr().out.splitlines()
    assert caption.startswith("w4 q0: 1,")
    assert best.startswith("person 0.")
    assert cv2.imread(str(tmp_path / "boxes.png")).shape == photo.shape


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(SystemExit, match=r"notes\.txt is not an image"):
        main(["--image", str(tmp_path / "notes.txt")])
