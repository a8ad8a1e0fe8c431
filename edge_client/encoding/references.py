"""The frames of a session that its server is known to hold, so that later ones may build on them."""

from __future__ import annotations

import threading
from collections import deque

from splitnet.codec.references import ID_MASK, MAX_REFERENCES, Reference


class SentReferences:
    """What has been sent, and which of it has been answered. The encoder's thread and the event loop share it.

    A frame may be built on once the server has answered it with detections: then it has decoded it. The server keeps
    those with the highest ids, so only the newest that is answered is of use.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent: deque[Reference] = deque(maxlen=MAX_REFERENCES)
        self._best: Reference | None = None
        self._usable = False
        self._times_cleared = 0

    @property
    def times_cleared(self) -> int:
        """How often all that had been sent became worthless, to the last video stream as well."""
        with self._lock:
            return self._times_cleared

    def allow(self, kept_by_server: int) -> None:
        """Begin a session with a server that keeps so many frames; 0 if it keeps none."""
        with self._lock:
            self._clear()
            self._usable = kept_by_server >= MAX_REFERENCES

    def forget(self) -> None:
        """Know of no frame any more: the server has refused one, or the session is over."""
        with self._lock:
            self._clear()

    def sent(self, reference: Reference) -> None:
        """Note what a frame that goes out will leave behind at the server."""
        with self._lock:
            self._sent.append(reference)

    def answered(self, frame_id: int) -> None:
        """Note that the server has decoded a frame."""
        with self._lock:
            found = next((one for one in self._sent if one.frame_id == frame_id), None)
            newer = self._best is None or frame_id > self._best.frame_id
            if found is not None and newer and found.frame_id & ID_MASK:
                self._best = found

    def best(self, width: int) -> Reference | None:
        """Return the newest frame of a width that the server holds, or None."""
        with self._lock:
            best = self._best if self._usable else None
        return best if best is not None and best.width == width else None

    def _clear(self) -> None:
        self._sent.clear()
        self._best = None
        self._times_cleared += 1
