"""Places that a run writes to: never its source, nor one file twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_client.output.places import check_places, check_writable, place_of_camera
from splitnet.errors import ConfigError


def test_places_of_their_own_are_taken(tmp_path):
    check_places({"--out": tmp_path / "a", "--annotate": tmp_path / "b"}, [tmp_path / "c"])
    check_places({"--out": Path("/dev/null"), "--trace-out": Path("/dev/null")}, [])


def test_the_source_is_not_written_over(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "images")
    (tmp_path / "images").mkdir()
    with pytest.raises(ConfigError, match=r"--annotate .*link is the place of --source"):
        check_places({"--annotate": tmp_path / "link"}, [tmp_path / "images", tmp_path / "others"])


def test_two_outputs_are_not_one_file(tmp_path):
    with pytest.raises(ConfigError, match=r"--trace-out .* is the place of --out"):
        check_places({"--out": tmp_path / "a", "--trace-out": tmp_path / "x" / ".." / "a"}, [])


def test_what_cannot_be_written_is_refused_and_what_is_there_is_kept(tmp_path):
    (tmp_path / "summary.json").write_text("old")
    check_writable("--json-summary", tmp_path / "summary.json")
    assert (tmp_path / "summary.json").read_text() == "old"
    with pytest.raises(ConfigError, match=r"cannot be written .*; choose another --json-summary"):
        check_writable("--json-summary", tmp_path)


def test_each_of_several_cameras_has_a_place_of_its_own():
    assert place_of_camera(Path("clips/boxes.mp4"), "yard") == Path("clips/boxes-yard.mp4")
    assert place_of_camera(Path("clips/boxes"), "yard") == Path("clips/boxes/yard")
