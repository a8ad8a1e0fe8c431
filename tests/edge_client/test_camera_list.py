"""Sources by name."""

from __future__ import annotations

import pytest

from edge_client.camera_list import named_sources
from splitnet.errors import ConfigError


def test_one_source_needs_no_name():
    assert named_sources("rtsp://cam/a=b?c=d") == (("", "rtsp://cam/a=b?c=d"),)
    assert named_sources(["yard=/dev/video0"]) == (("yard", "/dev/video0"),)


def test_of_several_those_without_a_name_are_called_by_their_place():
    given = ["0", "yard=rtsp://me:pw@cam/1", "gst:v4l2src device=/dev/video2 ! queue"]
    assert named_sources(given) == (
        ("cam1", "0"),
        ("yard", "rtsp://me:pw@cam/1"),
        ("cam3", "gst:v4l2src device=/dev/video2 ! queue"),
    )


def test_a_file_may_have_an_equals_sign_in_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "take=2.mp4").touch()
    assert named_sources("take=2.mp4") == (("", "take=2.mp4"),)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["yard=0", "yard=1"], "2 sources are called yard: give each a name"),
        (["Yard=0", "yard=1"], "2 sources are called yard"),
        (["0", "cam1=1"], "2 sources are called cam1"),
        (["back yard=rtsp://me:hidden@cam/"], "'back yard' is no name for a camera"),
        (["#=0"], "'#' is no name"),
        (["a+b=rtsp://cam/"], r"'a\+b' is no name"),
        (["x" * 33 + "=0"], "is no name"),
        ([str(number) for number in range(17)], "at most 16 cameras"),
        (["0", ""], "give --source SRC"),
        ([], "give --source SRC"),
    ],
)
def test_what_is_no_list_of_cameras_is_refused(given, says):
    with pytest.raises(ConfigError, match=says) as refused:
        named_sources(given)
    assert "hidden" not in str(refused.value)
