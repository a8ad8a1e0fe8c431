"""Images become frames: at the pace of a live camera, or as fast as frames are taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from edge_client.capture.source import FrameStamp, Source, Wait
from edge_client.frames import CapturedFrame


class Pacer:
    """Turns images into frames at the pace of a live camera, or as fast as they are taken.

    An image is read before its time has come and stamped when it has, so reading is not part of its age.
    """

    def __init__(
        self,
        live: bool,
        clock: Callable[[], float],
        unix_clock: Callable[[], float] = time.time,
        camera: str = "",
        offset_s: float = 0.0,
        stream: int = 0,
    ) -> None:
        """Take the monotonic clock to pace by, and the one that tells the date.

        camera: what the frames' camera is called. offset_s: how much later than asked for it begins. stream: which run
        of the camera it is, for a group of devices.
        """
        self._stream = stream
        self._camera = camera
        self._offset_s = offset_s
        self._live = live
        self._clock = clock
        self._unix_clock = unix_clock

    def frames(self, source: Source, wait: Wait) -> Iterator[CapturedFrame]:
        """Yield each image when its time has come, numbered from 1, or as another device has numbered it."""
        start: float | None = None
        for frame_id, shown in enumerate(source.images(wait), start=1):
            now = self._clock()
            start = now + self._offset_s if start is None else start
            ahead_s = start + shown.position_s - now
            if self._live and ahead_s > 0 and wait(ahead_s):
                return
            now, unix_time = self._clock(), self._unix_clock()
            stamp = shown.stamp or FrameStamp(self._stream, frame_id, 0.0)
            yield CapturedFrame(
                stamp.frame_id,
                now - stamp.age_s,
                shown.position_s,
                shown.image,
                unix_time - stamp.age_s,
                shown.file,
                self._camera,
                stamp.stream,
            )
