"""A camera that goes and comes back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_client.capture.camera import CameraSource
from edge_client.capture.video_capture import CaptureCamera
from splitnet.backoff import Backoff
from splitnet.errors import SourceError


class FakeCapture:
    """A camera that delivers so many frames and then nothing."""

    def __init__(self, frames: int, properties: dict[int, float] | None = None) -> None:
        self.left = frames
        self.properties = properties or {}
        self.released = False

    def isOpened(self) -> bool:  # noqa: N802
        return self.left > 0

    def read(self):
        if self.left <= 0:
            return False, None
        self.left -= 1
        return True, np.zeros((4, 4, 3), np.uint8)

    def get(self, prop: int) -> float:
        return self.properties.get(prop, 0.0)

    def release(self) -> None:
        self.released = True


class FakeRoom:
    """A camera that is plugged in and out by a script, and the time that waiting takes."""

    def __init__(self, frames_of_each_opening: list[int]) -> None:
        self.captures = [FakeCapture(frames) for frames in frames_of_each_opening]
        self.remaining = iter(self.captures)
        self.now = 0.0
        self.stop_at = float("inf")

    def open(self) -> FakeCapture:
        return next(self.remaining, FakeCapture(0))

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return self.now >= self.stop_at

    def camera(self, patience_s: float = 10.0) -> CameraSource:
        backoff = Backoff(lambda: 1.0, first_s=0.5)
        return CameraSource("0", self.opened, backoff, patience_s, clock=lambda: self.now)

    def opened(self) -> CaptureCamera:
        return CaptureCamera(self.open(), "0")


def test_a_camera_that_comes_back_goes_on(caplog):
    room = FakeRoom([3, 0, 0, 2])
    with pytest.raises(SourceError, match="away for 10 s"):
        for index, shown in enumerate(room.camera().images(room.wait)):
            assert shown.image.shape == (4, 4, 3)
            last = index
    assert last == 4
    assert "is back" in caplog.text
    assert all(capture.released for capture in room.captures)


def test_a_camera_that_opens_but_shows_nothing_is_still_away():
    room = FakeRoom([])
    room.open = lambda: type("Blind", (FakeCapture,), {"isOpened": lambda self: True})(0)
    with pytest.raises(SourceError, match="away for 10 s"):
        list(room.camera().images(room.wait))
    assert room.now >= 10.0


def test_the_search_for_a_camera_ends_when_the_run_is_stopped():
    room = FakeRoom([2])
    room.stop_at = 1.0
    assert len(list(room.camera().images(room.wait))) == 2


def test_a_camera_without_a_rate_gets_the_usual_one():
    assert FakeRoom([1]).camera().fps == 30.0


def test_a_camera_whose_frames_are_too_large_is_refused_before_one_is_read():
    room = FakeRoom([])
    size = {cv2.CAP_PROP_FRAME_WIDTH: 16_000.0, cv2.CAP_PROP_FRAME_HEIGHT: 16_000.0}
    room.remaining = iter([FakeCapture(1, size)])
    with pytest.raises(SourceError, match="camera 0: frames of 16000x16000 pixels are too large"):
        room.camera()
