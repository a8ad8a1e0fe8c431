"""A camera or a network stream as a source, which may go and come back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

from edge_client.capture.source import SourceImage, Wait
from edge_client.capture.video_capture import Capture, check_size, nominal_fps, read_frame
from edge_client.frames import Image
from splitnet.backoff import Backoff
from splitnet.errors import SourceError

logger = logging.getLogger(__name__)


class CameraSource:
    """A camera, a pipe or a network stream. When it disappears it is looked for again, with back-off."""

    finite = False

    def __init__(
        self,
        name: str,
        open_capture: Callable[[], Capture],
        backoff: Backoff,
        patience_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open it. name: for messages, without secrets. patience_s: how long to look for it once it is gone."""
        self.unreadable = 0
        self._name = name
        self._backoff = backoff
        self._patience_s = patience_s
        self._open_capture = open_capture
        self._clock = clock
        self._capture = open_capture()
        if not self._capture.isOpened():
            raise SourceError(f"camera {name} cannot be opened; check that it is there and that no one else uses it")
        check_size(self._capture, f"camera {name}")
        self.fps = nominal_fps(self._capture)

    def images(self, wait: Wait) -> Iterator[SourceImage]:
        """Yield images as they come; raise SourceError when the camera stays away."""
        start = self._clock()
        try:
            while (image := self._next_image(wait)) is not None:
                yield SourceImage(self._clock() - start, image)
        finally:
            self._capture.release()

    def _next_image(self, wait: Wait) -> Image | None:
        image = read_frame(self._capture)
        return self._find_again(wait) if image is None else image

    def _find_again(self, wait: Wait) -> Image | None:
        """Return the first frame of the camera come back, or None if the run was stopped meanwhile."""
        logger.warning("camera %s has disappeared; looking for it again", self._name)
        lost_at = self._clock()
        self._backoff.reset()
        while self._clock() - lost_at < self._patience_s:
            self._capture.release()
            if wait(self._backoff.next_delay_s()):
                return None
            self._capture = self._open_capture()
            if (image := read_frame(self._capture)) is not None:
                logger.warning("camera %s is back", self._name)
                return image
        raise SourceError(f"camera {self._name} has been away for {self._patience_s:g} s; giving up")
