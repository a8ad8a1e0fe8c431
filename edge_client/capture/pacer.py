"""When a picture becomes a frame: at the pace of a live camera, or as fast as frames are taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edge_client.capture.source import Source, Wait
from edge_client.frames import CapturedFrame


class Pacer:
    """Turns pictures into frames at the pace of a live camera, or as fast as they are taken.

    A picture is read before its time has come and stamped when it has, so reading is not part of its age.
    """

    def __init__(self, live: bool, clock: Callable[[], float]) -> None:
        self._live = live
        self._clock = clock

    def frames(self, source: Source, wait: Wait) -> Iterator[CapturedFrame]:
        """Yield each picture when its time has come, numbered from 1."""
        start: float | None = None
        for frame_id, picture in enumerate(source.pictures(wait), start=1):
            now = self._clock()
            start = now if start is None else start
            ahead_s = start + picture.position_s - now
            if self._live and ahead_s > 0 and wait(ahead_s):
                return
            yield CapturedFrame(frame_id, self._clock(), picture.position_s, picture.image)
