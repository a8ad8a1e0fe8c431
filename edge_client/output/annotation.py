"""Results as pictures: boxes drawn into the frames, as a video or as numbered pictures."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from edge_client.frames import FrameResult, Image
from edge_client.output.detection_record import label_name
from edge_client.output.sinks import Sink
from splitnet.errors import ConfigError

VIDEO_CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
RESERVED_BYTES = 8 << 20  # OpenCV does not report a full disk, so stop while there is room to finish
LONGEST_HOLD_S = 10.0  # a gap in the results is not filled with more of the same picture than this


def annotation_sink(path: Path, fps: float, class_names: Sequence[str]) -> Sink:
    """Return a video sink if the name ends like a video, else a folder of pictures."""
    if path.suffix.lower() in VIDEO_CODECS:
        return VideoSink(path, fps, class_names)
    return PictureFolderSink(path, class_names)


class VideoSink:
    """Writes a video that runs at the source's pace: a picture stays until the next result.

    The first frame fixes the size; frames of other sizes are scaled into it.
    """

    def __init__(
        self,
        path: Path,
        fps: float,
        class_names: Sequence[str],
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        if not path.parent.is_dir():
            raise ConfigError(f"{path}: its folder does not exist; create it or choose another --annotate")
        self._path = path
        self._fps = fps
        self._class_names = class_names
        self._free_bytes = free_bytes
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._written = 0
        self._shown: Image | None = None

    def write(self, result: FrameResult) -> None:
        """Add a frame; raise OSError if there is no room or no encoder."""
        if self._free_bytes(self._path.parent) < RESERVED_BYTES:
            raise OSError(errno.ENOSPC, "disk full", str(self._path))
        picture = annotated(result, self._class_names)
        writer = self._opened(picture)
        self._hold_until(writer, round(result.frame.position_s * self._fps))
        self._shown = fitted(picture, self._size)
        writer.write(self._shown)
        self._written += 1

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()

    def _opened(self, picture: Image) -> cv2.VideoWriter:
        if self._writer is None:
            self._size = (picture.shape[1], picture.shape[0])
            codec = cv2.VideoWriter.fourcc(*VIDEO_CODECS[self._path.suffix.lower()])
            self._writer = cv2.VideoWriter(str(self._path), codec, self._fps, self._size)
            if not self._writer.isOpened():
                raise OSError(errno.EIO, "cannot be written as a video", str(self._path))
        return self._writer

    def _hold_until(self, writer: cv2.VideoWriter, index: int) -> None:
        """Repeat the last picture for the frames without a result, so that time is not compressed."""
        if self._shown is None:
            return
        missing = min(index - self._written, int(LONGEST_HOLD_S * self._fps))
        for _ in range(missing):
            writer.write(self._shown)
        self._written = max(index, self._written)


class PictureFolderSink:
    """Writes every frame as a numbered PNG."""

    def __init__(self, folder: Path, class_names: Sequence[str]) -> None:
        self._folder = folder
        self._class_names = class_names
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be created ({error.strerror}); choose another --annotate") from error

    def write(self, result: FrameResult) -> None:
        """Write one picture; raise OSError when the disk is full."""
        _, encoded = cv2.imencode(".png", annotated(result, self._class_names))
        (self._folder / f"{result.frame.frame_id:06d}.png").write_bytes(encoded.tobytes())

    def close(self) -> None:
        """Do nothing: every picture is complete."""


def annotated(result: FrameResult, class_names: Sequence[str]) -> Image:
    """Return a copy of the frame (H, W, 3) uint8 BGR with boxes, names, scores and the operating point."""
    picture: Image = result.frame.image.copy()
    found = result.detections
    for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
        name = label_name(int(label), class_names)
        _draw_box(picture, [round(float(side)) for side in box], f"{name} {score:.2f}", _colour(int(label)))
    kilobytes = len(result.encoded.payload) / 1000
    caption = f"{result.encoded.point}  {kilobytes:.1f} KB  {result.end_to_end_ms:.0f} ms"
    _draw_text(picture, caption, 4, picture.shape[0] - 6, (40, 40, 40))
    return picture


def fitted(picture: Image, size: tuple[int, int]) -> Image:
    """Return a picture of exactly `size` (width, height), scaled to fit inside and padded with black."""
    width, height = size
    if picture.shape[:2] == (height, width):
        return picture
    scale = min(width / picture.shape[1], height / picture.shape[0])
    scaled_size = (max(1, int(picture.shape[1] * scale)), max(1, int(picture.shape[0] * scale)))
    padded: Image = np.zeros((height, width, 3), np.uint8)
    padded[: scaled_size[1], : scaled_size[0]] = cv2.resize(picture, scaled_size)
    return padded


def _draw_box(picture: Image, box: Sequence[int], caption: str, colour: tuple[int, int, int]) -> None:
    left, top, right, bottom = box
    cv2.rectangle(picture, (left, top), (right, bottom), colour, 2)
    _draw_text(picture, caption, left, max(top - 4, 12), colour)


def _draw_text(picture: Image, text: str, left: int, baseline: int, colour: tuple[int, int, int]) -> None:
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    corners = (left, baseline - height - 3), (left + width, baseline + 3)
    cv2.rectangle(picture, *corners, colour, cv2.FILLED)
    cv2.putText(picture, text, (left, baseline), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)


def _colour(label: int) -> tuple[int, int, int]:
    """Return a dark, saturated BGR colour; neighbouring labels lie far apart on the wheel."""
    hsv = np.array([[[label * 67 % 180, 220, 170]]], np.uint8)
    blue, green, red = (int(channel) for channel in cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0])
    return blue, green, red
