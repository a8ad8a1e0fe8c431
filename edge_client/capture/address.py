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

from edge_client.capture.camera import CameraSource, OpenCamera, Opener
from edge_client.capture.group_source import open_group_source
from edge_client.capture.image_folder import ImageFolderSource, open_folder
from edge_client.capture.mjpeg import MjpegCamera
from edge_client.capture.programs import program_opener
from edge_client.capture.source import LoopedSource, Source, SourceSettings
from edge_client.capture.video_capture import Capture, CaptureCamera, open_file, open_stream
from edge_client.capture.video_devices import DEVICES, NumberedCamera
from edge_client.capture.video_file import VideoSource, open_video
from splitnet.backoff import Backoff
from splitnet.errors import SourceError
from splitnet.image_file import IMAGE_SUFFIXES
from splitnet.text import without_secrets

FIRST_PAUSE_S = 0.2  # before a camera that has disappeared is looked for

_INDEX = re.compile("[0-9]{1,4}")
_FILE_URL = re.compile("(?i)file://")
_GROUP = re.compile("group://")
_DOWNLOAD = re.compile("(?i)https?://")  # a file, or a live stream


def open_source(address: str, settings: SourceSettings) -> Source:
    """Return the source behind an address. Raises SourceError if there is nothing to read."""
    path = local_path(address)
    if path and path.is_dir():
        return _looped(open_folder(path, settings.fps), settings.loop)
    if path and path.is_file():
        is_image = path.suffix.lower() in IMAGE_SUFFIXES
        return _looped(ImageFolderSource([path], settings.fps) if is_image else open_video(path), settings.loop)
    if not path and (program := program_opener(address, settings)) is not None:
        return _camera(*program, settings)
    if _GROUP.match(address):
        return open_group_source(address, settings)
    name = without_secrets(address)
    if _DOWNLOAD.match(address):
        return _on_the_web(address, name, settings)
    opener = _device_opener(path, settings) if path else _camera_opener(address, settings)
    if opener is None:
        raise SourceError(f"{name}: no such file or folder; give a path, a camera index or an rtsp:// address")
    return _camera(name, _by_opencv(opener, name), settings)


def _camera(name: str, opener: Opener, settings: SourceSettings) -> CameraSource:
    backoff = Backoff(random.random, first_s=FIRST_PAUSE_S)
    return CameraSource(name, opener, backoff, settings.patience_s, is_needed=settings.is_needed)


def _by_opencv(opener: Callable[[], Capture], name: str) -> Opener:
    return lambda: CaptureCamera(opener(), name)


def _on_the_web(url: str, name: str, settings: SourceSettings) -> Source:
    """Return a stream of JPEGs, a video with an end, or whatever stream FFmpeg can read: the first that it is."""
    ready: list[OpenCamera] = []  # many cameras serve one at a time
    with suppress(SourceError):
        ready.append(MjpegCamera(url, settings.timeout_s))
    if not ready:
        with suppress(SourceError):
            video = VideoSource(name, partial(open_stream, url, settings.timeout_s), name)
            if video.has_end:
                return _looped(video, settings.loop)
    return _camera(name, lambda: ready.pop() if ready else _open_web_camera(url, name, settings.timeout_s), settings)


def _open_web_camera(url: str, name: str, timeout_s: float) -> OpenCamera:
    """Open a stream of JPEGs or another one: which of them was not to be seen while the camera was away."""
    try:
        return MjpegCamera(url, timeout_s)
    except SourceError as error:
        with suppress(SourceError):
            return CaptureCamera(open_stream(url, timeout_s), name)
        raise error


def _looped(source: Source, loop: bool) -> Source:
    return LoopedSource(source) if loop else source


def local_path(address: str) -> Path | None:
    """Return the path of something that is there, as the address gives it or as a file:// URL names it."""
    if _FILE_URL.match(address):
        address = unquote(urlsplit(address).path, errors="surrogateescape")
    return Path(address) if os.path.exists(address) else None  # noqa: PTH110 - Path's raises where a URL is long


def _device_opener(path: Path, settings: SourceSettings) -> Callable[[], Capture] | None:
    """Return what opens something that is neither a folder nor a regular file."""
    mode = path.stat().st_mode
    if stat.S_ISCHR(mode):
        if not os.access(path, os.R_OK | os.W_OK):
            raise SourceError(
                f"{path}: this user may not use the camera; add it to the group of the device: {path.group()}"
            )
        return NumberedCamera(path, size=settings.size)
    return partial(open_file, path) if stat.S_ISFIFO(mode) else None


def _camera_opener(address: str, settings: SourceSettings) -> Callable[[], Capture] | None:
    if _INDEX.fullmatch(address):
        return NumberedCamera(DEVICES / f"video{address}", int(address), settings.size)
    if "://" in address and not _FILE_URL.match(address):
        return partial(open_stream, address, settings.timeout_s, settings.transport)
    return None
