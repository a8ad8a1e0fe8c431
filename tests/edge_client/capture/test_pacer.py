"""Images become frames."""

from __future__ import annotations

import numpy as np

from edge_client.capture.pacer import Pacer
from edge_client.capture.source import SourceImage

IMAGE = np.zeros((2, 2, 3), np.uint8)


class FakeTime:
    """A clock that only waiting moves on."""

    def __init__(self) -> None:
        self.now = 100.0
        self.stop_at = float("inf")

    def clock(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        return self.now >= self.stop_at


class FakeSource:
    """Images at 10 a second, each taking a while to read."""

    finite, fps, unreadable = True, 10.0, 0

    def __init__(self, time: FakeTime, reading_s: float) -> None:
        self.time, self.reading_s = time, reading_s

    def images(self, wait):
        for index in range(5):
            self.time.now += self.reading_s
            yield SourceImage(index / self.fps, IMAGE, f"{index}.png")


def capture_times(live: bool, reading_s: float) -> list[float]:
    time = FakeTime()
    frames = Pacer(live, time.clock).frames(FakeSource(time, reading_s), time.wait)
    return [round(frame.capture_time, 3) for frame in frames]


def test_live_frames_come_at_the_source_s_own_rate():
    assert capture_times(live=True, reading_s=0.04) == [100.04, 100.14, 100.24, 100.34, 100.44]


def test_a_source_slower_than_its_rate_is_not_delayed_further():
    assert capture_times(live=True, reading_s=0.5) == [100.5, 101.0, 101.5, 102.0, 102.5]


def test_frames_that_are_not_live_are_not_held_back():
    assert capture_times(live=False, reading_s=0.001) == [100.001, 100.002, 100.003, 100.004, 100.005]


def test_frames_are_numbered_from_one_and_keep_their_position_file_and_date():
    time = FakeTime()
    frames = list(Pacer(True, time.clock, lambda: 1e9 + time.now).frames(FakeSource(time, 0.0), time.wait))
    assert [frame.frame_id for frame in frames] == [1, 2, 3, 4, 5]
    assert [frame.position_s for frame in frames] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert [frame.file for frame in frames] == ["0.png", "1.png", "2.png", "3.png", "4.png"]
    assert [round(frame.unix_time - 1e9, 3) for frame in frames] == [100.0, 100.1, 100.2, 100.3, 100.4]


def test_stopping_cuts_the_wait_short():
    time = FakeTime()
    time.stop_at = 100.15
    assert len(list(Pacer(True, time.clock).frames(FakeSource(time, 0.0), time.wait))) == 2
