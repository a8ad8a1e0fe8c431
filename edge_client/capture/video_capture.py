"""OpenCV's captures: how a file, a device or a stream is opened, and what is read from it."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from edge_client.frames import Image
from splitnet.errors import SourceError
from splitnet.image_file import MAX_PIXELS
from splitnet.messages import MAX_FRAME_SIDE
from splitnet.plain_name import plain_name

DEFAULT_FPS = 30.0  # of cameras and files that do not know their own rate
NETWORK_TIMEOUT_MS = 5000

Capture = cv2.VideoCapture


def open_file(path: Path) -> Capture:
    """Open a video file or a named pipe whatever bytes are in its name."""
    try:
        with plain_name(path) as name:
            return cv2.VideoCapture(name, cv2.CAP_FFMPEG)
    except OSError:
        return cv2.VideoCapture()  # not opened


def open_device(path: Path) -> Capture:
    """Open a camera by its device file, or by a link to one."""
    return cv2.VideoCapture(os.path.realpath(path), cv2.CAP_V4L2)


def open_index(index: int) -> Capture:
    """Open a camera by its number."""
    return cv2.VideoCapture(index)


def open_stream(url: str) -> Capture:
    """Open a network stream, not waiting for it for ever."""
    timeouts = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, NETWORK_TIMEOUT_MS),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, NETWORK_TIMEOUT_MS),
    ]
    return cv2.VideoCapture(url, cv2.CAP_FFMPEG, timeouts)


def read_frame(capture: Capture) -> Image | None:
    """Return the next frame, or None if it cannot be read or there is none."""
    readable, image = capture.read()
    return np.asarray(image, np.uint8) if readable and image is not None else None


def nominal_fps(capture: Capture) -> float:
    """Return the rate that a capture claims, or the usual one."""
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    return fps if 0 < fps < 1000 else DEFAULT_FPS


def check_size(capture: Capture, name: str) -> None:
    """Raise SourceError if a capture says that its frames are too large."""
    width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
    if max(width, height) > MAX_FRAME_SIDE or width * height > MAX_PIXELS:
        raise SourceError(f"{name}: frames of {width:g}x{height:g} pixels are too large; scale them down")
