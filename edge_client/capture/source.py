"""Where frames come from: a camera, an RTSP address, a video file or a folder of pictures."""

from __future__ import annotations

import itertools
import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from edge_client.backoff import Backoff
from edge_client.frames import Image
from splitnet.errors import SourceError

logger = logging.getLogger(__name__)

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
DEFAULT_FPS = 30.0  # of cameras and files that do not know their own rate
NETWORK_TIMEOUT_MS = 5000

Capture = cv2.VideoCapture
Wait = Callable[[float], bool]  # sleeps for the seconds given; returns True at once if the run is being stopped


@dataclass(frozen=True)
class Picture:
    """One image of a source. image: (H, W, 3) uint8 BGR. position_s: seconds from the source's start."""

    position_s: float
    image: Image


class Source(Protocol):
    """Yields pictures. `finite` sources, which are paced, are files and folders."""

    finite: bool
    fps: float

    @property
    def unreadable(self) -> int:
        """How many pictures were passed over."""
        ...

    def pictures(self, wait: Wait) -> Iterator[Picture]:
        """Yield pictures until the source ends; raise SourceError when it is gone for good."""
        ...


def open_source(address: str, *, fps: float, camera_patience_s: float, loop: bool = False) -> Source:
    """Return the source behind an address: a folder, a file, a camera index or a URL.

    `fps` is the rate of folders; `loop` shows a folder or file over and over. Raises SourceError if there is
    nothing to read.
    """
    path = Path(address)
    if path.is_dir():
        folder = FolderSource(path, fps)
        return LoopedSource(folder) if loop else folder
    if path.is_file():
        file = VideoFileSource(path)
        return LoopedSource(file) if loop else file
    if address.isdigit() or "://" in address:
        return CameraSource(address, Backoff(random.random, first_s=0.2), camera_patience_s)
    raise SourceError(f"{address}: no such file or folder; give a path, a camera index or an rtsp:// address")


class FolderSource:
    """The pictures of a folder in the order of their names. Unreadable ones are counted and passed over."""

    finite = True

    def __init__(self, folder: Path, fps: float) -> None:
        self.fps = fps
        self.unreadable = 0
        self._paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
        if not self._paths:
            raise SourceError(f"{folder}: no pictures in this folder ({', '.join(sorted(PICTURE_SUFFIXES))})")

    def pictures(self, wait: Wait) -> Iterator[Picture]:
        """Yield the readable pictures; raise SourceError if there was none among them."""
        shown = 0
        for path in self._paths:
            image = _read_picture(path)
            if image is None:
                self.unreadable += 1
                logger.warning("%s: not a readable picture, passed over", path)
                continue
            yield Picture(shown / self.fps, image)
            shown += 1
        if shown == 0:
            raise SourceError(f"none of the {len(self._paths)} pictures in the folder can be read")


class VideoFileSource:
    """The frames of a video file."""

    finite = True

    def __init__(self, path: Path) -> None:
        self.unreadable = 0
        self._path = path
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise SourceError(f"{path}: not a video that can be read; convert it, for example with ffmpeg")
        self.fps = _nominal_fps(self._capture)

    def pictures(self, wait: Wait) -> Iterator[Picture]:
        """Yield the frames; raise SourceError if the file holds none."""
        if not self._capture.isOpened():  # it has been shown before
            self._capture.open(str(self._path))
        shown = 0
        try:
            while (image := _read_frame(self._capture)) is not None:
                yield Picture(shown / self.fps, image)
                shown += 1
        finally:
            self._capture.release()
        if shown == 0:
            raise SourceError(f"{self._path}: the video has no readable frame; convert it, for example with ffmpeg")


class LoopedSource:
    """A folder or file over and over, as one film without an end: its time runs on from round to round."""

    finite = True  # it waits for its first link, and is paced, as what it shows

    def __init__(self, shown: FolderSource | VideoFileSource) -> None:
        self.fps = shown.fps
        self._shown = shown

    @property
    def unreadable(self) -> int:
        """Pictures passed over, counted again in every round."""
        return self._shown.unreadable

    def pictures(self, wait: Wait) -> Iterator[Picture]:
        """Yield pictures until nobody asks for more; raise SourceError if there is none."""
        rounds = (self._shown.pictures(wait) for _ in itertools.count())
        for index, picture in enumerate(itertools.chain.from_iterable(rounds)):
            yield Picture(index / self.fps, picture.image)


class CameraSource:
    """A camera or a network stream. When it disappears it is looked for again, with back-off."""

    finite = False

    def __init__(
        self,
        address: str,
        backoff: Backoff,
        patience_s: float,
        open_capture: Callable[[str], Capture] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.unreadable = 0
        self._address = address
        self._backoff = backoff
        self._patience_s = patience_s
        self._open_capture = open_capture or _open_camera
        self._clock = clock
        self._capture = self._open_capture(address)
        if not self._capture.isOpened():
            raise SourceError(f"camera {address} cannot be opened; check that it is there and that no one else uses it")
        self.fps = _nominal_fps(self._capture)

    def pictures(self, wait: Wait) -> Iterator[Picture]:
        """Yield pictures as they come; raise SourceError when the camera stays away."""
        start = self._clock()
        try:
            while (image := self._next_image(wait)) is not None:
                yield Picture(self._clock() - start, image)
        finally:
            self._capture.release()

    def _next_image(self, wait: Wait) -> Image | None:
        image = _read_frame(self._capture)
        return self._find_again(wait) if image is None else image

    def _find_again(self, wait: Wait) -> Image | None:
        """Return the first frame of the camera come back, or None if the run was stopped meanwhile."""
        logger.warning("camera %s has disappeared; looking for it again", self._address)
        lost_at = self._clock()
        self._backoff.reset()
        while self._clock() - lost_at < self._patience_s:
            self._capture.release()
            if wait(self._backoff.next_delay_s()):
                return None
            self._capture = self._open_capture(self._address)
            if (image := _read_frame(self._capture)) is not None:
                logger.warning("camera %s is back", self._address)
                return image
        raise SourceError(f"camera {self._address} has been away for {self._patience_s:g} s; giving up")


def _open_camera(address: str) -> Capture:
    if address.isdigit():
        return cv2.VideoCapture(int(address))
    timeouts = [
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, NETWORK_TIMEOUT_MS),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, NETWORK_TIMEOUT_MS),
    ]
    return cv2.VideoCapture(address, cv2.CAP_FFMPEG, timeouts)


def _read_frame(capture: Capture) -> Image | None:
    readable, image = capture.read()
    return np.asarray(image, np.uint8) if readable and image is not None else None


def _read_picture(path: Path) -> Image | None:
    try:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    except cv2.error:  # a picture whose header claims more pixels than OpenCV allows
        return None
    return None if image is None else np.asarray(image, np.uint8)


def _nominal_fps(capture: Capture) -> float:
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    return fps if 0 < fps < 1000 else DEFAULT_FPS
