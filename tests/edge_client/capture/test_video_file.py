"""Video files, whole, damaged and of a variable rate."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from edge_client.capture.video_file import open_video
from splitnet.errors import SourceError
from tests.edge_client.capture.clips import FPS, never, write_clip


def damaged(path: Path, begin: float, end: float) -> Path:
    """Zero a part of a file."""
    data = bytearray(path.read_bytes())
    first, last = int(len(data) * begin), int(len(data) * end)
    data[first:last] = bytes(last - first)
    path.write_bytes(data)
    return path


def test_a_video_is_read_at_its_own_rate(tmp_path):
    source = open_video(write_clip(tmp_path / "clip.avi"))
    images = list(source.images(never))
    assert source.fps == pytest.approx(FPS)
    assert [shown.position_s for shown in images] == pytest.approx([index / FPS for index in range(6)])
    assert {(shown.file, shown.image.shape) for shown in images} == {("clip.avi", (48, 64, 3))}
    assert source.unreadable == 0


def test_a_variable_rate_is_the_containers(tmp_path):
    path = write_clip(tmp_path / "clip.mkv")
    data, times = path.read_bytes(), [0, 50, 400, 450, 1000, 1100]
    for index in reversed(range(6)):  # the heads of the blocks: track, milliseconds, flags
        before, after = struct.pack(">Bh", 0x81, index * 80), struct.pack(">Bh", 0x81, times[index])
        assert data.count(before + b"\x80") == 1
        data = data.replace(before + b"\x80", after + b"\x80")
    path.write_bytes(data)
    source = open_video(path)
    assert [shown.position_s for shown in source.images(never)] == pytest.approx([time / 1000 for time in times])
    assert source.unreadable == 0


CLIPS = [("a.avi", "MJPG"), ("a.mkv", "MJPG"), ("a.mp4", "mp4v"), ("a.mkv", "mp4v")]


@pytest.mark.parametrize(("name", "codec"), CLIPS)
def test_a_video_goes_on_behind_damage_which_is_counted_and_said(tmp_path, caplog, name, codec):
    path = damaged(write_clip(tmp_path / name, 60, codec, (160, 120)), 0.3, 0.55)
    source = open_video(path)
    images = list(source.images(never))
    assert 30 <= len(images) <= 50
    assert images[-1].image.mean() > 200  # the last ones are there
    assert abs(len(images) + source.unreadable - 60) <= 2
    assert caplog.messages == [
        f"{path} is damaged or cut off: about {source.unreadable} frames cannot be read, {len(images)} can"
    ]


@pytest.mark.parametrize("name", ["a.avi", "a.mkv"])
def test_a_video_that_is_cut_off_is_counted_too(tmp_path, name):
    path = write_clip(tmp_path / name, 60, size=(160, 120))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    source = open_video(path)
    assert len(list(source.images(never))) + source.unreadable == 60


def test_reading_on_ends_when_the_run_is_stopped(tmp_path):
    source = open_video(damaged(write_clip(tmp_path / "a.mp4", 60, "mp4v", (160, 120)), 0.3, 0.55))
    assert 10 <= len(list(source.images(lambda seconds: True))) <= 20
    assert source.unreadable == 0  # nobody has asked for the rest


def test_an_unreadable_video_is_refused(tmp_path):
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"this is no video" * 100)
    with pytest.raises(SourceError, match="not a video"):
        open_video(path)


def test_a_video_without_one_readable_frame_is_an_error(tmp_path):
    path = damaged(write_clip(tmp_path / "a.mp4", 6, "mp4v"), 0.002, 0.6)
    with pytest.raises(SourceError, match=r"no readable frame|not a video"):
        list(open_video(path).images(never))


def test_a_video_that_may_not_be_read_is_refused(tmp_path):
    path = write_clip(tmp_path / "a.avi")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root may read everything")
    with pytest.raises(SourceError, match="Permission denied"):
        open_video(path)
