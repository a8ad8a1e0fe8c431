"""The source behind an address: a folder, a file, a camera by its number or device, a pipe, a URL."""

from __future__ import annotations

import os
import random
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edge_client.capture.camera import CameraSource
from edge_client.capture.image_folder import ImageFolderSource, open_folder
from edge_client.capture.source import LoopedSource, Source
from edge_client.capture.video_capture import Capture, open_device, open_file, open_index, open_stream
from edge_client.capture.video_file import VideoSource, open_video
from splitnet.backoff import Backoff
from splitnet.errors import SourceError
from splitnet.image_file import IMAGE_SUFFIXES
from splitnet.text import without_secrets

FIRST_PAUSE_S = 0.2  # before a camera that has disappeared is looked for

_INDEX = re.compile("[0-9]{1,4}")
_FILE_URL = re.compile("(?i)file://")
_DOWNLOAD = re.compile("(?i)https?://")  # a file, or a live stream


def open_source(address: str, *, fps: float, camera_patience_s: float, loop: bool = False) -> Source:
    """Return the source behind an address. Raises SourceError if there is nothing to read.

    `fps` is the rate of folders; `loop` shows a folder or file over and over.
    """
    path = local_path(address)
    if path and path.is_dir():
        return _looped(open_folder(path, fps), loop)
    if path and path.is_file():
        is_image = path.suffix.lower() in IMAGE_SUFFIXES
        return _looped(ImageFolderSource([path], fps) if is_image else open_video(path), loop)
    name, backoff = without_secrets(address), Backoff(random.random, first_s=FIRST_PAUSE_S)
    if (video := _video_on_the_web(address, name)) is not None:
        return _looped(video, loop)
    opener = _device_opener(path) if path else _camera_opener(address)
    if opener is None:
        raise SourceError(f"{name}: no such file or folder; give a path, a camera index or an rtsp:// address")
    return CameraSource(name, opener, backoff, camera_patience_s)


def _video_on_the_web(address: str, name: str) -> VideoSource | None:
    """Return a video with an end; None for live streams and for what is not there, which a camera's errors tell."""
    if not _DOWNLOAD.match(address):
        return None
    with suppress(SourceError):
        video = VideoSource(name, partial(open_stream, address), name)
        return video if video.has_end else None
    return None


def _looped(source: Source, loop: bool) -> Source:
    return LoopedSource(source) if loop else source


def local_path(address: str) -> Path | None:
    """Return the path of something that is there, as the address gives it or as a file:// URL names it."""
    if _FILE_URL.match(address):
        address = unquote(urlsplit(address).path, errors="surrogateescape")
    return Path(address) if os.path.exists(address) else None  # noqa: PTH110 - Path's raises where a URL is long


def _device_opener(path: Path) -> Callable[[], Capture] | None:
    """Return what opens something that is neither a folder nor a regular file."""
    mode = path.stat().st_mode
    if stat.S_ISCHR(mode):
        if not os.access(path, os.R_OK | os.W_OK):
            raise SourceError(
                f"{path}: this user may not use the camera; add it to the group of the device: {path.group()}"
            )
        return partial(open_device, path)
    return partial(open_file, path) if stat.S_ISFIFO(mode) else None


def _camera_opener(address: str) -> Callable[[], Capture] | None:
    if _INDEX.fullmatch(address):
        return partial(open_index, int(address))
    return partial(open_stream, address) if "://" in address and not _FILE_URL.match(address) else None
