"""Between the camera and the encoder: the newest frame wins, and few frames are in flight.

One lock guards both: the frame to encode must be chosen at the moment when a place on the link becomes free, not
before. A frame that waits for its place grows stale.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Condition
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """One slot for the newest frame, and a number of places for frames that await their answer.

    Shared by the reading thread (`put`), the encoding thread (`take`) and the event loop
    (`release`, `pause`, `resume`, `close`). Starts paused.
    """

    def __init__(
        self,
        places: int,
        on_overtaken: Callable[[Item], None] = lambda item: None,
        on_left_over: Callable[[Item], None] | None = None,
    ) -> None:
        """Take the number of places, and what to call with a frame that was replaced.

        on_left_over: called with the frame that still waits at the end; if not given, it counts as replaced.
        """
        self._changed = Condition()
        self._item: Item | None = None
        self._places = self._free_places = places
        self._on_overtaken = on_overtaken
        self._on_left_over = on_left_over or on_overtaken
        self._paused = True
        self._resumed_once = False
        self._silent = False  # the last frame had to go without a place, and none has fallen free since
        self._finished = False
        self._closed = False

    @property
    def pending(self) -> int:
        """Frames that wait or occupy a place."""
        with self._changed:
            return (self._item is not None) + self._places - self._free_places

    @property
    def is_paused(self) -> bool:
        """Whether it gives no places."""
        with self._changed:
            return self._paused

    def put(self, item: Item, wait: bool = False) -> bool:
        """Leave the newest frame; return False once the mailbox is closed.

        With `wait` the caller stands back until the slot is empty, so that nothing is overtaken.
        """
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._item is None or self._closed)
            if self._closed:
                return False
            overtaken, self._item = self._item, item
            self._changed.notify_all()
        if overtaken is not None:
            self._on_overtaken(overtaken)
        return True

    def take(self, patience_s: float | None = None) -> tuple[Item, bool] | None:
        """Wait for a frame and a free place, and occupy it; return None when no more will come.

        Returns the frame and whether it has a place. It always has, unless a patience is given: then it goes
        without while the mailbox is paused, and once no place has fallen free for so many seconds.
        """
        while self.wait(patience_s):
            if (taken := self.take_now(patience_s is not None)) is not None:
                return taken
        return None

    def wait(self, patience_s: float | None = None) -> bool:
        """Wait as `take` does, and take nothing yet; return whether there is anything to take, now or later."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._over())
            self._changed.wait_for(lambda: self._may_go(patience_s is not None), patience_s)
            return not self._closed and self._item is not None

    def take_now(self, without_place: bool = False) -> tuple[Item, bool] | None:
        """Take the newest frame as `take` does, without waiting; None if there is none or it has no place to go.

        without_place: it may go without. That is for whoever has waited for it.
        """
        with self._changed:
            placed = self._has_place()
            if self._closed or self._item is None or not (placed or without_place):
                return None
            item, self._item = self._item, None
            self._free_places -= placed
            self._silent = not placed
            self._changed.notify_all()
            return item, placed

    def _over(self) -> bool:
        return self._closed or self._finished

    def _may_go(self, without_place: bool) -> bool:
        nothing_to_wait_for = self._closed or self._item is None
        return nothing_to_wait_for or self._has_place() or (without_place and (self._paused or self._silent))

    def _has_place(self) -> bool:
        return self._free_places > 0 and not self._paused

    def release(self) -> None:
        """Free the place of a frame that was answered or lost."""
        with self._changed:
            self._free_places += 1
            self._silent = False
            self._changed.notify_all()

    def pause(self) -> None:
        """Give no places: the link is down. Newer frames go on overtaking the one that waits."""
        with self._changed:
            self._paused = True
            self._changed.notify_all()

    def resume(self) -> None:
        """Give places again: the link is up."""
        with self._changed:
            self._paused = False
            self._resumed_once = True
            self._silent = False
            self._changed.notify_all()

    def wait_until_resumed(self) -> None:
        """Wait for the first `resume`, or the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._resumed_once or self._over())

    def finish(self) -> None:
        """Say that no frame follows the one that may still wait."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def close(self) -> None:
        """Wake everybody up for good; a frame that still waits is dropped."""
        with self._changed:
            self._closed = True
            left_over, self._item = self._item, None
            self._changed.notify_all()
        if left_over is not None:
            self._on_left_over(left_over)
