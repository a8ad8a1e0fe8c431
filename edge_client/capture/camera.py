"""A camera, a stream or a program as a source, which may go and come back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from edge_client.capture.source import SourceImage, Wait
from edge_client.frames import Image
from splitnet.backoff import Backoff
from splitnet.errors import SourceError

logger = logging.getLogger(__name__)

DEFAULT_FPS = 30.0  # of what does not know its own rate
STEADY_S = 10.0  # after which a camera that goes counts as one that was well


class OpenCamera(Protocol):
    """A camera that is open."""

    @property
    def fps(self) -> float:
        """The rate that it claims."""
        ...

    @property
    def unreadable(self) -> int:
        """How many frames came damaged and were passed over."""
        ...

    @property
    def reason(self) -> str:
        """Why `read` has returned None, if that is known."""
        ...

    def read(self, wait: Wait) -> Image | None:
        """Wait for the next frame (H, W, 3) uint8 BGR and return it; None if it has gone, or the run ends."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


Opener = Callable[[], OpenCamera]  # raises SourceError, which says what to do


class CameraSource:
    """A camera, a pipe, a network stream or a program. When it disappears it is looked for again, with back-off."""

    finite = False

    def __init__(
        self,
        name: str,
        open_camera: Opener,
        backoff: Backoff,
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
        is_needed: bool = True,
    ) -> None:
        """Open it. name: for messages, without secrets. patience_s: how long to look for it once it is gone.

        is_needed: raise SourceError if it cannot be opened now; otherwise it counts as just gone.
        """
        self._name = name
        self._backoff = backoff
        self._patience_s = patience_s
        self._open = open_camera
        self._clock = clock
        self._camera: OpenCamera | None = None
        self._passed_over = 0  # by cameras that are closed
        self._reason = ""
        self._opened_at = clock()
        try:
            self._camera = open_camera()
        except SourceError as error:
            if is_needed:
                raise
            self._reason = str(error)
        self.fps = DEFAULT_FPS if self._camera is None else self._camera.fps

    @property
    def unreadable(self) -> int:
        """How many frames came damaged and were passed over."""
        return self._passed_over + (0 if self._camera is None else self._camera.unreadable)

    def images(self, wait: Wait) -> Iterator[SourceImage]:
        """Yield images as they come; raise SourceError when the camera stays away."""
        start = self._clock()
        try:
            while (image := self._next_image(wait)) is not None:
                yield SourceImage(self._clock() - start, image)
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the camera."""
        if self._camera is not None:
            self._passed_over += self._camera.unreadable
            self._camera.close()
            self._camera = None

    def _next_image(self, wait: Wait) -> Image | None:
        image = None if self._camera is None else self._camera.read(wait)
        if image is not None or wait(0.0):
            return image
        return self._find_again(wait)

    def _find_again(self, wait: Wait) -> Image | None:
        """Return the first frame of the camera come back, or None if the run was stopped meanwhile."""
        if self._camera is not None:
            self._reason = self._camera.reason
        logger.warning("camera %s has disappeared%s; looking for it again", self._name, self._why)
        lost_at = self._clock()
        if lost_at - self._opened_at >= STEADY_S:  # else one that comes for a moment is asked for ever more often
            self._backoff.reset()
        while self._clock() - lost_at < self._patience_s:
            self.close()
            if wait(self._backoff.next_delay_s()):
                return None
            if (image := self._first_image(wait)) is not None:
                logger.warning("camera %s is back", self._name)
                return image
        raise SourceError(f"camera {self._name} has been away for {self._patience_s:g} s{self._why}; giving up")

    def _first_image(self, wait: Wait) -> Image | None:
        try:
            self._camera = self._open()
        except SourceError as error:
            self._reason = str(error)
            return None
        self._opened_at = self._clock()
        image = self._camera.read(wait)
        self._reason = "" if image is not None else self._camera.reason
        return image

    @property
    def _why(self) -> str:
        return f" ({self._reason})" if self._reason else ""
