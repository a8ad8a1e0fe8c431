"""The frames of a video file, at the container's times. Damage inside is passed over and counted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2

from edge_client.capture.source import SourceImage, Wait
from edge_client.capture.video_capture import Capture, check_size, nominal_fps, open_file, read_frame
from edge_client.frames import Image
from splitnet.errors import SourceError

logger = logging.getLogger(__name__)

LEAST_ATTEMPTS = 64  # to read on behind damage; at the end of a file each takes microseconds
MOST_ATTEMPTS = 100_000
EXACT_SUFFIXES = frozenset({".avi"})  # containers that state the number of the frames which are shown
TRIMMED_SHARE = 0.05  # of the stated frames that other containers may hide without any damage


class VideoSource:
    """The frames of a video that has an end."""

    finite = True

    def __init__(self, name: str, open_capture: Callable[[], Capture], file: str, is_exact: bool = False) -> None:
        """Open it. name: for messages, without secrets. file: what its frames are said to come from.

        is_exact: whether its container states the number of the frames that are shown. Raises SourceError.
        """
        self.unreadable = 0
        self._name = name
        self._open_capture = open_capture
        self._file = file
        self._is_exact = is_exact
        self._capture = open_capture()
        if not self._capture.isOpened():
            raise SourceError(f"{name}: not a video that can be read; convert it, for example with ffmpeg")
        check_size(self._capture, name)
        self.fps = nominal_fps(self._capture)

    @property
    def has_end(self) -> bool:
        """Whether it knows how long it is: a live stream does not."""
        return self._capture.get(cv2.CAP_PROP_FRAME_COUNT) > 0

    def images(self, wait: Wait) -> Iterator[SourceImage]:
        """Yield the frames; raise SourceError if the file holds none."""
        if not self._capture.isOpened():  # it has been shown before
            self._capture = self._open_capture()
        reader = _Reader(self._capture, self.fps)
        try:
            while (image := reader.next(wait)) is not None:
                yield SourceImage(reader.position_s, image, self._file)
        finally:
            self._capture.release()
        if reader.shown == 0:
            raise SourceError(f"{self._name}: the video has no readable frame; convert it, for example with ffmpeg")
        if not reader.stopped:
            self._note_damage(reader.unreadable(self._is_exact), reader.shown)

    def _note_damage(self, unreadable: int, shown: int) -> None:
        self.unreadable += unreadable
        if unreadable:
            logger.warning(
                "%s is damaged or cut off: about %d frames cannot be read, %d can", self._name, unreadable, shown
            )


def open_video(path: Path) -> VideoSource:
    """Return the video in a file. Raises SourceError."""
    try:
        path.open("rb").close()
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from error
    return VideoSource(str(path), partial(open_file, path), path.name, path.suffix.lower() in EXACT_SUFFIXES)


class _Reader:
    """Reads one capture to its end, once."""

    def __init__(self, capture: Capture, fps: float) -> None:
        self.shown = 0
        self.position_s = 0.0
        self.stopped = False
        self._capture = capture
        self._fps = fps
        self._stated = min(max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))), MOST_ATTEMPTS)
        self._behind_damage = 0  # frames missing where reading has failed and then gone on
        self._skipped = 0  # frames missing, by their times, where it has not
        self._regular = 0  # steps of time that are as the rate says

    def next(self, wait: Wait) -> Image | None:
        """Return the next frame that can be read; None at the end."""
        for failed in range(max(LEAST_ATTEMPTS, self._stated - self.shown)):
            image = read_frame(self._capture)
            if image is not None:
                self._advance(failed > 0)
                return image
            if wait(0.0):
                self.stopped = True
                break
        return None

    def _advance(self, has_failed: bool) -> None:
        before_s = self.position_s
        stated_s = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000
        if self.shown:  # a container without times gives 0 for every frame
            self.position_s = stated_s if stated_s > before_s else before_s + 1 / self._fps
            missing = max(0, round((self.position_s - before_s) * self._fps) - 1)
            self._regular += missing == 0
            self._behind_damage += max(1, missing) if has_failed else 0
            self._skipped += 0 if has_failed else missing
        self.shown += 1

    def unreadable(self, is_exact: bool) -> int:
        """Return about how many frames the file should have had beside those shown.

        is_exact: the container states the number of the frames that are shown. Otherwise it may hide some (trimmed
        clips), or be of a variable rate, where neither gaps nor the number mean anything.
        """
        is_regular = self._regular >= 0.9 * (self.shown - 1)
        gaps = self._behind_damage + (self._skipped if is_regular else 0)
        short = self._stated - self.shown
        believed = short > 0 if is_exact else is_regular and short > TRIMMED_SHARE * self._stated
        return max(gaps, short) if believed else gaps
