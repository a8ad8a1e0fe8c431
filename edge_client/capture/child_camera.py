"""A program that writes frames into a pipe, as a camera: ffmpeg, gst-launch-1.0, rpicam-vid.

It is watched: one that ends, hangs, floods its standard error or writes something else is ended and has gone, which
`CameraSource` answers by starting it again. What it complained of last is said then, without passwords.
"""

from __future__ import annotations

import atexit
import os
import selectors
import signal
import subprocess
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from edge_client.capture.camera import DEFAULT_FPS
from edge_client.capture.source import Wait
from edge_client.capture.y4m import FRAME, MAGIC, MAX_LINE_BYTES, Y4mHeader, parse_header, to_bgr
from edge_client.frames import Image
from splitnet.errors import SourceError
from splitnet.text import printable, without_secrets

POLL_S = 0.2  # between looks at whether the run ends
START_S = 10.0  # within which a program shows its first frame, if its timeout is not longer
END_S = 1.0  # that it has to end when asked to
KEPT_BYTES = 4096  # of what it says on standard error
MAX_SAID_CHARS = 200
PIPE_BYTES = 1 << 20  # of the pipe, where the system allows that: a frame needs fewer turns
_SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of Linux

_LIVING: weakref.WeakSet[ChildCamera] = weakref.WeakSet()


class Framing(Protocol):
    """How a program says where its frames begin and end."""

    @property
    def fps(self) -> float:
        """The rate that it claims."""
        ...

    def begin(self, child: ChildCamera) -> bool:
        """Read what comes before all frames; return False if it does not come. Raises SourceError if it is wrong."""
        ...

    def read(self, child: ChildCamera, wait: Wait) -> Image | None:
        """Return the next frame; None if there is none. Raises SourceError if it is none."""
        ...


class ChildCamera:
    """A program's frames. Use it from one thread."""

    unreadable = 0

    def __init__(
        self,
        command: Sequence[str],
        framing: Framing,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start it, and wait until it begins. Raises SourceError if it is not there, or does not."""
        self.reason = ""
        self._name = command[0]
        self._framing = framing
        self._timeout_s = max(timeout_s, START_S)  # until the first frame
        self._usual_timeout_s = timeout_s
        self._clock = clock
        self._said = b""
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,  # Ctrl+C is for us, and whatever it starts ends with it
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise SourceError(f"{self._name} cannot be started ({reason}): is it installed?") from error
        assert self._process.stdout is not None and self._process.stderr is not None
        self._out, self._errors = self._process.stdout.fileno(), self._process.stderr.fileno()
        os.set_blocking(self._out, False)
        os.set_blocking(self._errors, False)
        _enlarge(self._out)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._out, selectors.EVENT_READ)
        self._selector.register(self._errors, selectors.EVENT_READ)
        _LIVING.add(self)
        try:
            if not framing.begin(self):
                raise SourceError(self.reason)
        except SourceError:
            self.close()
            raise

    @property
    def fps(self) -> float:
        """The rate that it claims, once it has shown a frame."""
        return self._framing.fps

    def read(self, wait: Wait) -> Image | None:
        """Return the next frame; None if it has gone, or the run ends."""
        try:
            image = self._framing.read(self, wait)
        except SourceError as error:
            self.reason = str(error)
            return None
        self._timeout_s = self._usual_timeout_s
        return image

    def fill(self, view: memoryview, wait: Wait) -> bool:
        """Fill a buffer with what it writes; return False if it has gone or the run ends."""
        filled, until = 0, self._clock() + self._timeout_s
        while filled < len(view):
            count = self._take(view[filled:])
            if count == 0:
                self.reason = self._how_it_ended(filled)
                return False
            if count is None:
                if wait(0.0):
                    return False
                if self._clock() >= until:
                    self.reason = f"{self._name} has written nothing for {self._timeout_s:g} s{self._last_words()}"
                    return False
                self._listen()
                continue
            filled += count
            until = self._clock() + self._timeout_s
        return True

    def _take(self, view: memoryview) -> int | None:
        """Return how many bytes there were, 0 at the end, None if there is nothing yet."""
        try:
            return os.readv(self._out, [view])
        except BlockingIOError:
            return None

    def _listen(self) -> None:
        """Wait a moment for it to write anything; of its complaints the last are kept."""
        for key, _ in self._selector.select(POLL_S):
            if key.fd == self._errors:
                self._hear()

    def _hear(self) -> None:
        with suppress(BlockingIOError):
            said = os.read(self._errors, 1 << 16)
            self._said = (self._said + said)[-KEPT_BYTES:]
            if not said:
                self._selector.unregister(self._errors)

    def _how_it_ended(self, filled: int) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_S)
        if self._errors in self._selector.get_map():
            self._hear()
        code = self._process.returncode
        how = "has closed its output" if code is None else f"has ended with code {code}"
        return f"{self._name} {how}{' in the middle of a frame' if filled else ''}{self._last_words()}"

    def _last_words(self) -> str:
        lines = [line for line in self._said.decode("utf-8", "replace").splitlines() if line.strip()]
        return f": {printable(without_secrets(lines[-1]), MAX_SAID_CHARS)}" if lines else ""

    def close(self) -> None:
        """End it, and let go of its pipes."""
        self._selector.close()
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()  # one that waits to be read from wakes up
        self.end()
        _LIVING.discard(self)

    def end(self) -> None:
        """End it: asked to first, then at once."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:  # its number may be another's by now
                return
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(END_S)


class Y4mFraming:
    """Frames that say their size: see `y4m`."""

    def __init__(self) -> None:
        self._header: Y4mHeader | None = None

    @property
    def fps(self) -> float:
        """The rate in the header."""
        return DEFAULT_FPS if self._header is None else self._header.fps

    def begin(self, child: ChildCamera) -> bool:
        """Read the header."""
        line = _read_line(child, lambda seconds: False)
        if line is not None:
            self._header = parse_header(line)
        return line is not None

    def read(self, child: ChildCamera, wait: Wait) -> Image | None:
        """Return the next frame; the first one, and any of another size, comes after a header."""
        while (line := _read_line(child, wait)) is not None:
            if line.startswith(MAGIC):
                self._header = parse_header(line)
                continue
            assert self._header is not None
            if not line.startswith(FRAME):
                size = f"{self._header.width}x{self._header.height}"
                raise SourceError(f"its frames are not of the {size} pixels that it promised")
            planes = bytearray(self._header.frame_bytes)
            return to_bgr(planes, self._header) if child.fill(memoryview(planes), wait) else None
        return None


class RawFraming:
    """Frames of one size, colours halved both ways (I420), with nothing between them."""

    def __init__(self, width: int, height: int, fps: float) -> None:
        self.fps = fps
        self._header = Y4mHeader(width, height, fps)

    def begin(self, child: ChildCamera) -> bool:
        """Do nothing: there is no header."""
        return True

    def read(self, child: ChildCamera, wait: Wait) -> Image | None:
        """Return the next frame."""
        planes = bytearray(self._header.frame_bytes)
        return to_bgr(planes, self._header) if child.fill(memoryview(planes), wait) else None


def _read_line(child: ChildCamera, wait: Wait) -> bytes | None:
    """Return the line before a frame, or a header; None if there is none."""
    line = bytearray(len(FRAME) + 1)  # what most are
    if not child.fill(memoryview(line), wait):
        return None
    one = bytearray(1)
    while not line.endswith(b"\n"):
        if len(line) == MAX_LINE_BYTES or not line.startswith((FRAME, MAGIC[: len(FRAME)])):
            return bytes(line)
        if not child.fill(memoryview(one), wait):
            return None
        line += one
    return bytes(line)


def _enlarge(pipe: int) -> None:
    import fcntl  # here: only systems with pipes like that have it

    with suppress(OSError):
        fcntl.fcntl(pipe, _SET_PIPE_SIZE, PIPE_BYTES)


@atexit.register
def _end_all() -> None:
    """End the programs of threads that this process does not wait for."""
    for child in list(_LIVING):
        child.end()
