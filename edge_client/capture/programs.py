"""Cameras by programs and by the Pi's own library: `gst:PIPELINE`, `ffmpeg:INPUT`, `csi:0`."""

from __future__ import annotations

import importlib
import shlex
import shutil
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from edge_client.capture.camera import OpenCamera, Opener
from edge_client.capture.child_camera import ChildCamera, Framing, RawFraming, Y4mFraming
from edge_client.capture.source import Size, SourceSettings, Wait
from edge_client.capture.video_capture import CaptureCamera, has_gstreamer, open_gstreamer
from edge_client.frames import Image
from splitnet.errors import SourceError
from splitnet.text import printable, without_secrets

GST, FFMPEG, CSI = "gst:", "ffmpeg:", "csi:"
GST_PROGRAM, FFMPEG_PROGRAM = "gst-launch-1.0", "ffmpeg"
PI_PROGRAMS = ("rpicam-vid", "libcamera-vid")  # the second was the first one's name
USUAL_SIZE = (1280, 720)
PI_MULTIPLE = 64  # pixels of a row, or rpicam-vid pads it
_OWN_ENDS = ("appsink", "fdsink", "autovideosink", "fakesink", "ximagesink", "xvimagesink")
_NO_GSTREAMER = (
    "gst: needs an OpenCV with GStreamer, or the program gst-launch-1.0 (Debian's gstreamer1.0-tools, with "
    "gstreamer1.0-plugins-good)"
)
_NO_FFMPEG = "ffmpeg: needs the program ffmpeg (Debian's package of that name)"
_NO_CSI = (
    "csi: needs picamera2 (Debian's python3-picamera2; a virtual environment sees it if it was made with "
    "--system-site-packages) or rpicam-vid (rpicam-apps)"
)


def program_opener(address: str, settings: SourceSettings) -> tuple[str, Opener] | None:
    """Return a name for messages and what opens a camera of one of these kinds; None if it is of another.

    Raises SourceError if what it takes is not installed, or the address makes no sense.
    """
    kinds = {GST: _gst_opener, FFMPEG: _ffmpeg_opener, CSI: _csi_opener}
    for kind, opener in kinds.items():
        if address.lower().startswith(kind):
            return _shown(address), opener(address[len(kind) :].strip(), settings)
    return None


def _shown(address: str) -> str:
    """Return the beginning of an address: the whole pipeline would be long, and might have secrets."""
    first, *more = address.split(maxsplit=1) or [address]
    return printable(without_secrets(first), 60) + (" ..." if more else "")


def _words(text: str, kind: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise SourceError(f"{kind} {error}: check the quotes") from None
    if not words:
        raise SourceError(f"{kind} is followed by what is to be shown, such as {kind}v4l2src")
    return words


def _child(command: list[str], framing: Callable[[], Framing], timeout_s: float) -> OpenCamera:
    return ChildCamera(command, framing(), timeout_s)


# GStreamer and ffmpeg.


def _gst_opener(pipeline: str, settings: SourceSettings) -> Opener:
    words = _without_end(_words(pipeline, GST))
    scaled = [] if settings.size is None else ["!", "videoscale", "!", _gst_size(settings.size)]
    if has_gstreamer():
        described = " ".join(word.replace(" ", "\\ ") for word in [*words, *scaled])
        return lambda: CaptureCamera(open_gstreamer(described), GST)
    if shutil.which(GST_PROGRAM) is None:
        raise SourceError(_NO_GSTREAMER)
    newest = ["!", "queue", "leaky=downstream", "max-size-buffers=1"]
    made = ["!", "videoconvert", "!", "video/x-raw,format=I420", "!", "y4menc", "!", "fdsink", "fd=1", "sync=false"]
    return partial(_child, [GST_PROGRAM, "-q", *words, *newest, *scaled, *made], Y4mFraming, settings.timeout_s)


def _without_end(words: list[str]) -> list[str]:
    """Return a pipeline without the sink that it may end in: people have them from elsewhere."""
    last = len(words) - 1 - words[::-1].index("!") if "!" in words else None
    if last is not None and (last == len(words) - 1 or words[last + 1] in _OWN_ENDS):
        return _without_end(words[:last])
    return words


def _gst_size(size: Size) -> str:
    return f"video/x-raw,width={size[0]},height={size[1]}"


def _ffmpeg_opener(given: str, settings: SourceSettings) -> Opener:
    words = _words(given, FFMPEG)
    if shutil.which(FFMPEG_PROGRAM) is None:
        raise SourceError(_NO_FFMPEG)
    if "-i" not in words:
        words.insert(len(words) - 1, "-i")  # before the last: options stand in front of their input
    quiet = ["-nostdin", "-hide_banner", "-loglevel", "error"]
    scaled = [] if settings.size is None else ["-s", "{}x{}".format(*settings.size)]
    made = ["-an", "-sn", "-dn", *scaled, "-pix_fmt", "yuv420p", "-f", "yuv4mpegpipe", "pipe:1"]
    return partial(_child, [FFMPEG_PROGRAM, *quiet, *words, *made], Y4mFraming, settings.timeout_s)


# Ribbon-cable cameras of a Raspberry Pi.


def _csi_opener(number: str, settings: SourceSettings) -> Opener:
    if not (number.isascii() and number.isdecimal() and len(number) < 3):
        raise SourceError("csi: is followed by the camera's number: csi:0")
    size = settings.size or USUAL_SIZE
    try:
        library: Any = importlib.import_module("picamera2")
    except ImportError:
        return _rpicam_opener(number, size, settings)
    return lambda: PiCamera(library, int(number), size, settings.fps)


def _rpicam_opener(number: str, size: Size, settings: SourceSettings) -> Opener:
    program = next((name for name in PI_PROGRAMS if shutil.which(name)), None)
    if program is None:
        raise SourceError(_NO_CSI)
    if size[0] % PI_MULTIPLE or size[1] % 2:
        raise SourceError(f"{program} gives frames of a width that is a multiple of {PI_MULTIPLE}: change --frame-size")
    sides = ["--width", str(size[0]), "--height", str(size[1]), "--framerate", f"{settings.fps:g}"]
    command = [program, "--camera", number, "--nopreview", "--timeout", "0", "--verbose", "0", *sides]
    framing = partial(RawFraming, *size, settings.fps)
    return partial(_child, [*command, "--codec", "yuv420", "--output", "-"], framing, settings.timeout_s)


class PiCamera:
    """A camera of picamera2."""

    unreadable = 0

    def __init__(self, library: Any, number: int, size: Size, fps: float) -> None:
        """Open it. Raises SourceError."""
        self.fps = fps
        self.reason = ""
        self._camera: Any = None
        try:
            self._camera = library.Picamera2(number)
            main = {"size": size, "format": "RGB888"}  # which is BGR in memory
            self._camera.configure(self._camera.create_video_configuration(main=main, controls={"FrameRate": fps}))
            self._camera.start()
        except Exception as error:  # it raises what libcamera does, of many kinds
            self.close()
            raise SourceError(
                f"camera csi:{number} cannot be opened ({printable(str(error))}); check its cable, and that no one "
                "else uses it: rpicam-hello --list-cameras"
            ) from error

    def read(self, wait: Wait) -> Image | None:
        """Return the next frame; None if it has gone."""
        try:
            return np.ascontiguousarray(self._camera.capture_array("main")[..., :3], np.uint8)
        except Exception as error:
            self.reason = printable(str(error))
            return None

    def close(self) -> None:
        """Let go of it."""
        if self._camera is not None:
            self._camera.close()
