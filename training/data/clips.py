"""Short runs of consecutive frames: from video files, from folders of frames, and as pans over still images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from splitnet.errors import ConfigError
from splitnet.plain_name import plain_name

Image = NDArray[np.uint8]  # (H, W, 3) BGR

PAN_FRAMES = 8
PAN_STEP_PX = 12.0  # the fastest pan, a frame
PAN_CROP = 0.75  # of an image's sides, that a frame of a pan shows
TURN_CROP = 0.6  # of an image's sides, that a camera sees which turns
TURN_FRAMES = 40  # to the other side and back
NOISE = 2.0  # standard deviation of the sensor's noise, of 255


def video_frames(path: Path, fps: float, limit: int) -> list[Image]:
    """Return frames (H, W, 3) uint8 BGR of a video at about a rate, `limit` at most. ConfigError if there are none."""
    capture, every = _opened(path), frames_apart(path, fps)
    frames: list[Image] = []
    number = 0
    while len(frames) < limit:
        good, frame = capture.read()
        if not good:
            break
        if number % every == 0:
            frames.append(np.asarray(frame, np.uint8))
        number += 1
    capture.release()
    if len(frames) < 2:
        raise ConfigError(f"{path} holds no two frames that can be read: give video files to --clips")
    return frames


def frames_apart(path: Path, fps: float) -> int:
    """Return how many frames of a video come to one of `video_frames`."""
    capture = _opened(path)
    try:
        return max(1, round((capture.get(cv2.CAP_PROP_FPS) or fps) / fps))
    finally:
        capture.release()


def _opened(path: Path) -> cv2.VideoCapture:
    with plain_name(path) as name:
        return cv2.VideoCapture(name, cv2.CAP_FFMPEG)


def still(image: Image, draw: np.random.Generator, count: int) -> Iterator[Image]:
    """Yield frames of a camera that rests on an image (H, W, 3), with a sensor's noise of its own each."""
    for _ in range(count):
        yield _with_noise(image, draw)


def pan(image: Image, draw: np.random.Generator) -> Iterator[Image]:
    """Yield frames of a camera that moves evenly over an image (H, W, 3), with a sensor's noise of its own each."""
    height, width = (int(PAN_CROP * side) for side in image.shape[:2])
    room = np.array(image.shape[:2]) - (height, width)
    step = draw.uniform(-1, 1, 2) * np.minimum(PAN_STEP_PX, room / PAN_FRAMES)
    begin = np.where(step > 0, 0, room) + draw.uniform(0, 1, 2) * (room - np.abs(step) * PAN_FRAMES) * np.sign(step)
    for number in range(PAN_FRAMES):
        row, column = np.clip(begin + number * step, 0, room)
        yield _with_noise(_window(image, row, column, (width, height)), draw)


def turning(image: Image, draw: np.random.Generator, count: int) -> Iterator[Image]:
    """Yield frames of a camera that turns over an image (H, W, 3) and back, now slowly and now fast, with noise."""
    height, width = (int(TURN_CROP * side) for side in image.shape[:2])
    room = np.array(image.shape[:2]) - (height, width)
    for number in range(count):
        row, column = room * (0.5, (1 - np.cos(2 * np.pi * number / TURN_FRAMES)) / 2)
        yield _with_noise(_window(image, row, column, (width, height)), draw)


def _window(image: Image, row: float, column: float, size: tuple[int, int]) -> Image:
    """Return what is seen of an image from a place on; size: (width, height)."""
    place = np.array([[1, 0, -column], [0, 1, -row]], np.float32)
    moved = cv2.warpAffine(image, place, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.uint8)


def _with_noise(image: Image, draw: np.random.Generator) -> Image:
    return np.clip(image + draw.normal(0, NOISE, image.shape), 0, 255).astype(np.uint8)
