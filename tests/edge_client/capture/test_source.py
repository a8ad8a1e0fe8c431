"""Folders, videos and cameras, good and bad."""

from __future__ import annotations

from itertools import islice

import cv2
import numpy as np
import pytest

from edge_client.backoff import Backoff
from edge_client.capture.source import CameraSource, FolderSource, VideoFileSource, open_source
from splitnet.errors import SourceError


def never(seconds: float) -> bool:
    return False


def opened(address):
    return open_source(str(address), fps=10, camera_patience_s=1)


def write_pictures(folder, count: int) -> None:
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:03}.png"), np.full((8, 8, 3), index, np.uint8))


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.5, (64, 48))
    for index in range(6):
        writer.write(np.full((48, 64, 3), index * 40, np.uint8))
    writer.release()
    return path


def test_a_folder_s_pictures_come_in_the_order_of_their_names(tmp_path):
    write_pictures(tmp_path, 3)
    (tmp_path / "notes.txt").write_text("not a picture")
    pictures = list(opened(tmp_path).pictures(never))
    assert [int(picture.image[0, 0, 0]) for picture in pictures] == [0, 1, 2]
    assert [picture.position_s for picture in pictures] == [0.0, 0.1, 0.2]


def test_unreadable_pictures_are_counted_and_passed_over(tmp_path, caplog):
    write_pictures(tmp_path, 2)
    (tmp_path / "000b.jpg").write_bytes(b"\xff\xd8 truncated")
    (tmp_path / "000c.png").write_bytes(b"")
    source = opened(tmp_path)
    assert len(list(source.pictures(never))) == 2
    assert source.unreadable == 2
    assert "000b.jpg" in caplog.text


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no pictures in this folder"):
        opened(tmp_path)


def test_a_folder_without_one_readable_picture_is_an_error(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"nothing")
    with pytest.raises(SourceError, match="none of the 1 pictures"):
        list(opened(tmp_path).pictures(never))


def test_a_video_is_read_at_its_own_rate(video):
    source = opened(video)
    pictures = list(source.pictures(never))
    assert source.fps == pytest.approx(12.5)
    assert len(pictures) == 6
    assert pictures[2].position_s == pytest.approx(2 / 12.5)
    assert pictures[0].image.shape == (48, 64, 3)


def test_an_unreadable_video_is_refused(tmp_path):
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"this is no video" * 100)
    with pytest.raises(SourceError, match="not a video"):
        opened(path)


def test_a_truncated_video_ends_or_is_refused(video):
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    try:
        count = len(list(opened(video).pictures(never)))
    except SourceError:
        return
    assert count <= 6


def test_a_folder_shown_over_and_over_is_one_film(tmp_path, caplog):
    write_pictures(tmp_path, 3)
    (tmp_path / "000b.png").write_bytes(b"")
    source = open_source(str(tmp_path), fps=10, camera_patience_s=1, loop=True)
    pictures = list(islice(source.pictures(never), 8))
    assert [int(picture.image[0, 0, 0]) for picture in pictures] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert [picture.position_s for picture in pictures] == [n / 10 for n in range(8)]
    assert source.finite and source.fps == 10
    assert source.unreadable == 3


def test_a_video_shown_over_and_over_is_one_film(video):
    once = [int(picture.image.mean()) for picture in opened(video).pictures(never)]
    source = open_source(str(video), fps=10, camera_patience_s=1, loop=True)
    pictures = list(islice(source.pictures(never), 15))
    assert [int(picture.image.mean()) for picture in pictures] == [*once, *once, *once[:3]]
    assert pictures[-1].position_s == pytest.approx(14 / 12.5)


def test_a_folder_without_one_readable_picture_is_not_shown_over_and_over(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"nothing")
    source = open_source(str(tmp_path), fps=10, camera_patience_s=1, loop=True)
    with pytest.raises(SourceError, match="none of the 1 pictures"):
        next(source.pictures(never))


def test_an_address_that_is_nothing_is_refused():
    with pytest.raises(SourceError, match="no such file or folder"):
        opened("/nowhere/at-all")


def test_a_camera_that_is_not_there_is_refused_at_once():
    with pytest.raises(SourceError, match="cannot be opened"):
        opened("97")


class FakeCapture:
    """A camera that delivers so many frames and then nothing."""

    def __init__(self, frames: int) -> None:
        self.left = frames
        self.released = False

    def isOpened(self) -> bool:  # noqa: N802
        return self.left > 0

    def read(self):
        if self.left <= 0:
            return False, None
        self.left -= 1
        return True, np.zeros((4, 4, 3), np.uint8)

    def get(self, prop: int) -> float:
        return 0.0

    def release(self) -> None:
        self.released = True


class FakeRoom:
    """A camera that is plugged in and out by a script, and the time that waiting takes."""

    def __init__(self, frames_of_each_opening: list[int]) -> None:
        self.captures = [FakeCapture(frames) for frames in frames_of_each_opening]
        self.remaining = iter(self.captures)
        self.now = 0.0
        self.stop_at = float("inf")

    def open(self, address: str) -> FakeCapture:
        return next(self.remaining, FakeCapture(0))

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return self.now >= self.stop_at

    def camera(self, patience_s: float = 10.0) -> CameraSource:
        backoff = Backoff(lambda: 1.0, first_s=0.5)
        return CameraSource("0", backoff, patience_s, open_capture=self.open, clock=lambda: self.now)


def test_a_camera_that_comes_back_goes_on(caplog):
    room = FakeRoom([3, 0, 0, 2])
    with pytest.raises(SourceError, match="away for 10 s"):
        for index, picture in enumerate(room.camera().pictures(room.wait)):
            assert picture.image.shape == (4, 4, 3)
            last = index
    assert last == 4
    assert "is back" in caplog.text
    assert all(capture.released for capture in room.captures)


def test_a_camera_that_opens_but_shows_nothing_is_still_away():
    room = FakeRoom([])
    room.open = lambda address: type("Blind", (FakeCapture,), {"isOpened": lambda self: True})(0)
    with pytest.raises(SourceError, match="away for 10 s"):
        list(room.camera().pictures(room.wait))
    assert room.now >= 10.0


def test_the_search_for_a_camera_ends_when_the_run_is_stopped():
    room = FakeRoom([2])
    room.stop_at = 1.0
    assert len(list(room.camera().pictures(room.wait))) == 2


def test_a_camera_without_a_rate_gets_the_usual_one():
    assert FakeRoom([1]).camera().fps == 30.0


def test_finite_sources_say_so(tmp_path, video):
    write_pictures(tmp_path, 1)
    assert FolderSource(tmp_path, 10).finite
    assert VideoFileSource(video).finite
    assert not FakeRoom([1]).camera().finite
