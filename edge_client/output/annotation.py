"""Results as images: boxes drawn into the frames, as a video or as a folder of images."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2

from edge_client.frames import FrameResult, Image
from edge_client.output.drawing import annotated, fitted
from edge_client.output.sinks import Sink
from splitnet.errors import ConfigError
from splitnet.image_file import IMAGE_SUFFIXES
from splitnet.plain_name import plain_name

logger = logging.getLogger(__name__)

VIDEO_CODECS = {  # by the container, the usual one first
    ".mp4": ("mp4v", "MJPG"),
    ".m4v": ("mp4v", "MJPG"),
    ".mov": ("mp4v", "MJPG"),
    ".mkv": ("mp4v", "MJPG"),
    ".avi": ("MJPG", "mp4v"),
}
LEAST_SIDE = 16  # pixels of a video
RESERVED_BYTES = 8 << 20  # OpenCV does not report a full disk, so stop while there is room to finish
LONGEST_HOLD_S = 10.0  # a gap in the results is not filled with more of the same image than this


def annotation_sink(path: Path, fps: float, class_names: Sequence[str]) -> Sink:
    """Return a video sink if the name ends like a video, else a folder of images."""
    if path.suffix.lower() in VIDEO_CODECS:
        return VideoSink(path, fps, class_names)
    return ImageFolderSink(path, class_names)


class VideoSink:
    """Writes a video that runs at the source's pace: an image stays until the next result.

    A frame that another one has overtaken on its way has no place any more. The first frame fixes the size; frames of
    other sizes are fitted into it.
    """

    option = "--annotate"

    def __init__(
        self,
        path: Path,
        fps: float,
        class_names: Sequence[str],
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        """Make the file. Raises ConfigError if that is impossible."""
        try:
            path.open("wb").close()
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror}); choose another --annotate") from error
        self._path = path
        self._fps = fps
        self._class_names = class_names
        self._free_bytes = free_bytes
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._written = 0
        self._latest = 0  # frame id
        self._shown: Image | None = None

    def write(self, result: FrameResult) -> None:
        """Add a frame; raise OSError if there is no room or no encoder."""
        if self._free_bytes(self._path.parent) < RESERVED_BYTES:
            raise OSError(errno.ENOSPC, "disk full", str(self._path))
        if result.frame.frame_id < self._latest:
            return
        self._latest = result.frame.frame_id
        image = annotated(result, self._class_names)
        if self._writer is None:
            height, width = image.shape[:2]
            self._size = (_even(width), _even(height))
            self._writer = _opened_writer(self._path, self._fps, self._size)
        self._hold_until(self._writer, round(result.frame.position_s * self._fps))
        self._shown = fitted(image, self._size)
        self._writer.write(self._shown)
        self._written += 1

    def close(self) -> None:
        """Finish the file; without a frame there is none."""
        if self._writer is not None:
            self._writer.release()
        elif self._path.stat().st_size == 0:
            self._path.unlink()

    def _hold_until(self, writer: cv2.VideoWriter, index: int) -> None:
        """Repeat the last image for the frames without a result, so that time is not compressed."""
        if self._shown is None:
            return
        missing = min(index - self._written, int(LONGEST_HOLD_S * self._fps))
        for _ in range(missing):
            writer.write(self._shown)
        self._written = max(index, self._written)


def _even(side: int) -> int:
    """Return the side of a video that a side fits into: encoders halve colours, and cut off what is odd."""
    return max(LEAST_SIDE, side + side % 2)


def _opened_writer(path: Path, fps: float, size: tuple[int, int]) -> cv2.VideoWriter:
    """Return a writer, with the next best codec or rate if need be, which is said. Raises OSError if there is none."""
    codecs = VIDEO_CODECS[path.suffix.lower()]
    usual = codecs[0], fps
    for rate in dict.fromkeys((fps, max(1.0, float(round(fps))))):
        for codec in codecs:
            writer = _writer(path, codec, rate, size)
            if not writer.isOpened():
                continue
            if (codec, rate) != usual:
                logger.warning("%s: written as %s with %g frames a second", path, codec, rate)
            return writer
    raise OSError(errno.EIO, "cannot be written as a video", str(path))


def _writer(path: Path, codec: str, fps: float, size: tuple[int, int]) -> cv2.VideoWriter:
    """Open a file of any name: the library sees a plain one, which it becomes once it is open."""
    partial = f".{os.getpid()}{path.suffix}"
    with plain_name(path.parent) as folder:
        writer = cv2.VideoWriter(f"{folder}/{partial}", cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, size)
    if writer.isOpened():
        path.with_name(partial).replace(path)
    else:
        path.with_name(partial).unlink(missing_ok=True)
    return writer


class ImageFolderSink:
    """Writes every frame as an image: under the name that it has in its folder, else under its number, as PNG."""

    option = "--annotate"

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        """Make the folder. Raises ConfigError if that is impossible."""
        self._folder = folder
        self._class_names = class_names
        self._names: set[str] = set()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be created ({error.strerror}); choose another --annotate") from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(f"{folder}: nothing can be written there; choose another --annotate")

    def write(self, result: FrameResult) -> None:
        """Write one image; raise OSError when the disk is full."""
        name = self._name(result)
        _, encoded = cv2.imencode(Path(name).suffix, annotated(result, self._class_names))
        (self._folder / name).write_bytes(encoded.tobytes())

    def _name(self, result: FrameResult) -> str:
        """Return a name that no frame before had: a folder may be shown over and over."""
        name, number = result.frame.file, f"{result.frame.frame_id:06d}"
        if name is None or Path(name).suffix.lower() not in IMAGE_SUFFIXES:
            return f"{number}.png"
        if name in self._names:
            return f"{Path(name).stem}-{number}{Path(name).suffix}"
        self._names.add(name)
        return name

    def close(self) -> None:
        """Do nothing: every image is complete."""
