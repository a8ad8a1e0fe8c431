"""OpenCV's captures: how a file, a device or a stream is opened, and what is read from it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import cv2
import numpy as np

from edge_client.capture.camera import DEFAULT_FPS
from edge_client.capture.source import AUTO, NETWORK_TIMEOUT_S, Size, Wait
from edge_client.frames import Image
from splitnet.errors import SourceError
from splitnet.image_file import MAX_PIXELS
from splitnet.messages import MAX_FRAME_SIDE
from splitnet.plain_name import plain_name

OPTIONS_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"  # read by OpenCV whenever it opens a stream

Capture = cv2.VideoCapture
_OPENING = threading.Lock()


def open_file(path: Path) -> Capture:
    """Open a video file or a named pipe whatever bytes are in its name."""
    try:
        with plain_name(path) as name:
            return cv2.VideoCapture(name, cv2.CAP_FFMPEG)
    except OSError:
        return cv2.VideoCapture()  # not opened


def open_device(path: Path, size: Size | None = None) -> Capture:
    """Open a camera by its device file, or by a link to one. size: (width, height) to ask for."""
    capture = cv2.VideoCapture(os.path.realpath(path), cv2.CAP_V4L2)
    _ask_for(capture, size)
    return capture


def open_index(index: int, size: Size | None = None) -> Capture:
    """Open a camera by its number; otherwise as `open_device`."""
    capture = cv2.VideoCapture(index)
    _ask_for(capture, size)
    return capture


def _ask_for(capture: Capture, size: Size | None) -> None:
    if size is not None and capture.isOpened():
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, size[1])


def open_stream(url: str, timeout_s: float = NETWORK_TIMEOUT_S, transport: str = AUTO) -> Capture:
    """Open a network stream, not waiting for it for ever. transport: of rtsp, tcp or udp; auto: TCP if it is offered.

    What the user says in the environment (OPENCV_FFMPEG_CAPTURE_OPTIONS) goes first.
    """
    timeouts = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, round(1000 * timeout_s)),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, round(1000 * timeout_s)),
    ]
    options = {} if transport == AUTO or OPTIONS_VARIABLE in os.environ else {OPTIONS_VARIABLE: _rtsp_over(transport)}
    with _OPENING:  # the environment is that of all threads
        os.environ.update(options)
        try:
            return cv2.VideoCapture(url, cv2.CAP_FFMPEG, timeouts)
        finally:
            for name in options:
                del os.environ[name]


def _rtsp_over(transport: str) -> str:
    return f"rtsp_transport;{transport}"


def open_gstreamer(pipeline: str) -> Capture:
    """Open a pipeline of GStreamer, which ends in frames; only where OpenCV was built with it."""
    last = "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
    return cv2.VideoCapture(f"{pipeline} ! {last}", cv2.CAP_GSTREAMER)


def has_gstreamer() -> bool:
    """Return whether this OpenCV was built with GStreamer; that of the package registry is not."""
    return bool(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER))


class CaptureCamera:
    """A capture of OpenCV as a camera."""

    unreadable, reason = 0, ""

    def __init__(self, capture: Capture, name: str) -> None:
        """Take it opened. name: for messages, without secrets. Raises SourceError if it is not open, or too large."""
        self._capture = capture
        try:
            if not capture.isOpened():
                raise SourceError(
                    f"camera {name} cannot be opened; check that it is there and that no one else uses it"
                )
            check_size(capture, f"camera {name}")
        except SourceError:
            capture.release()
            raise
        self.fps = nominal_fps(capture)

    def read(self, wait: Wait) -> Image | None:
        """Return the next frame; None if there is none."""
        return read_frame(self._capture)

    def close(self) -> None:
        """Let go of it."""
        self._capture.release()


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
