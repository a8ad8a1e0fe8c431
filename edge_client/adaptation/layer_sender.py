"""Frames in layers on their way: which layers may go now. Pure.

A frame's first layer goes at once. The others wait until fewer than WINDOW messages await their ack. So little lies in
the queues of a link that falters, and a newer frame's first layer is not behind an older one's last. What can no longer
be there by the time that it is wanted is never sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

WINDOW = 2  # layers that may await their ack: one on the link, and one for when it is done with that

Payload = TypeVar("Payload")


class Ready(NamedTuple, Generic[Payload]):
    """A layer to send now."""

    frame_id: int
    layer: int
    payload: Payload


class LayerSender(Generic[Payload]):
    """Holds back the later layers of frames."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, Ready[Payload]]] = deque()  # with the time after which it is of no use
        self._under_way: set[tuple[int, int]] = set()  # frame id, layer

    def add(
        self, now: float, frame_id: int, layers: Sequence[Payload], until: float = float("inf")
    ) -> list[Ready[Payload]]:
        """Take a frame's layers; returns those to send now. until: a layer that has not gone by then is dropped."""
        self._under_way.add((frame_id, 0))
        self._waiting += [(until, Ready(frame_id, i, payload)) for i, payload in enumerate(layers) if i > 0]
        return [Ready(frame_id, 0, layers[0]), *self.ready(now)]

    def acked(self, now: float, frame_id: int, layer: int) -> list[Ready[Payload]]:
        """Learn that the server has a layer; returns those to send now."""
        self._under_way.discard((frame_id, layer))
        return self.ready(now)

    def forget(self, frame_id: int) -> None:
        """Send no more of a frame: it is answered, or lost."""
        self._under_way = {one for one in self._under_way if one[0] != frame_id}
        self._waiting = deque(one for one in self._waiting if one[1].frame_id != frame_id)

    def clear(self) -> None:
        """Forget everything: the session is over."""
        self._waiting.clear()
        self._under_way.clear()

    def ready(self, now: float) -> list[Ready[Payload]]:
        """Return the layers that may go now; they count as sent."""
        while self._waiting and self._waiting[0][0] < now:
            self._waiting.popleft()
        going = []
        while self._waiting and len(self._under_way) < WINDOW:
            _, one = self._waiting.popleft()
            self._under_way.add((one.frame_id, one.layer))
            going.append(one)
        return going
