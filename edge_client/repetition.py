"""Frames in which nothing has changed: not sent, and answered by what was found in the frame that they repeat. Pure.

Where all symbols are those of the reference, the server would compute the same detections once more. So nothing is lost
by not asking. Every so often a frame is sent all the same: it shows that server and link are there.
"""

from __future__ import annotations

from threading import Lock

from edge_client.frames import CapturedFrame, EncodedFrame, FrameResult


class Repetition:
    """The last answer, as long as it may be repeated. The encoder's thread and the event loop share it."""

    def __init__(self, limit_s: float) -> None:
        """Take for how many seconds after its capture an answered frame may stand for others; 0: never."""
        self._limit_s = limit_s
        self._lock = Lock()
        self._last: FrameResult | None = None

    def answered(self, result: FrameResult) -> None:
        """Note the server's answer to a frame."""
        with self._lock:
            if self._last is None or result.frame.frame_id > self._last.frame.frame_id:
                self._last = result

    def of(self, frame: CapturedFrame, encoded: EncodedFrame) -> FrameResult | None:
        """Return the answer for a frame in which nothing has changed since the last one; None: it has to be sent."""
        with self._lock:
            last = self._last
        if last is None or not encoded.is_unchanged:
            return None
        before = last.frame
        same = before.frame_id == encoded.builds_on and before.image.shape == frame.image.shape
        return last if same and frame.capture_time - before.capture_time < self._limit_s else None
