"""Between the camera and the encoder: the newest frame wins, and few frames are under way.

One lock guards both, because the frame to encode must be chosen at the moment when a place on the
link falls free, not before: a frame that waits for its place grows stale.
"""

from __future__ import annotations

from threading import Condition
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """One slot for the newest frame, and a number of places for frames that await their answer.

    Shared by the reading thread (`put`), the encoding thread (`take`) and the event loop
    (`release`, `pause`, `resume`, `close`). Starts paused.
    """

    def __init__(self, places: int) -> None:
        self._changed = Condition()
        self._item: Item | None = None
        self._free_places = places
        self._paused = True
        self._finished = False
        self._closed = False
        self.received = 0
        self.overtaken = 0  # frames that were replaced, or left over at the end

    def put(self, item: Item, wait: bool = False) -> bool:
        """Leave the newest frame; return False once the mailbox is closed.

        With `wait` the caller stands back until the slot is empty, so that nothing is overtaken.
        """
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._item is None or self._closed)
            if self._closed:
                return False
            self.received += 1
            self.overtaken += self._item is not None
            self._item = item
            self._changed.notify_all()
            return True

    def take(self) -> Item | None:
        """Wait for a frame and a free place, and occupy it; return None when no more will come."""
        with self._changed:
            self._changed.wait_for(self._can_answer)
            item, self._item = self._item, None
            if self._closed or item is None:
                return None
            self._free_places -= 1
            self._changed.notify_all()
            return item

    def _can_answer(self) -> bool:
        if self._closed or (self._finished and self._item is None):
            return True
        return self._item is not None and self._free_places > 0 and not self._paused

    def release(self) -> None:
        """Free the place of a frame that was answered or lost."""
        with self._changed:
            self._free_places += 1
            self._changed.notify_all()

    def pause(self) -> None:
        """Hold frames back: the link is down. Newer frames go on overtaking the one that waits."""
        with self._changed:
            self._paused = True

    def resume(self) -> None:
        """Let frames go again: the link is up."""
        with self._changed:
            self._paused = False
            self._changed.notify_all()

    def finish(self) -> None:
        """Say that no frame follows the one that may still wait."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def close(self) -> None:
        """Wake everybody up for good; a frame that still waits is dropped."""
        with self._changed:
            self._closed = True
            self.overtaken += self._item is not None
            self._item = None
            self._changed.notify_all()
