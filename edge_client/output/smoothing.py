"""Frames that nobody looked at, given the boxes that are expected in them."""

from __future__ import annotations

from collections.abc import Sequence

from edge_client.frames import EncodedFrame, Fate, FrameResult
from edge_client.output.motion import Motion
from edge_client.output.sinks import Sink
from splitnet.messages import ServerTiming
from splitnet.operating_point import SKIP

_NOT_ENCODED = EncodedFrame(SKIP, b"", 0.0, 0.0, 0.0)
_NO_SERVER = ServerTiming(0.0, 0.0, 0.0)


class Smoothing:
    """A recorder that learns from answers, and writes a predicted result for each frame that ended without one."""

    option = "--smooth"

    def __init__(self, sinks: Sequence[Sink]) -> None:
        """Take where predicted results go: the sinks that get the others, too, in the same thread."""
        self._sinks = tuple(sinks)
        self._motion = Motion()

    def write(self, fate: Fate) -> None:
        """Take the end of a frame's way."""
        frame = fate.frame
        if fate.result is not None:
            self._motion.answered(frame.capture_time, fate.result.detections)
            return
        height, width = frame.image.shape[:2]
        expected = self._motion.at(frame.capture_time, width, height)
        if expected is not None:
            result = FrameResult(frame, _NOT_ENCODED, expected, _NO_SERVER, 0.0, late=False, predicted=True)
            for sink in self._sinks:
                sink.write(result)

    def close(self) -> None:
        """Do nothing: the sinks are closed by whoever feeds them."""
