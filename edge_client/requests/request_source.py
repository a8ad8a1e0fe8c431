"""Images that other programs ask about, as a source: each becomes a frame of the pipeline, none is overtaken."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from queue import SimpleQueue
from threading import Lock
from typing import Generic, TypeVar

from edge_client.capture.source import SourceImage, Wait
from edge_client.frames import Image

MAX_UNANSWERED = 64  # frames whose results may still come; older ones are forgotten

Ticket = TypeVar("Ticket")


class RequestSource(Generic[Ticket]):
    """Yields images in the order in which they were put, and remembers which ticket belongs to which frame.

    `put`, `withdraw` and `close` are called in any thread, `images` in the reading one, `ticket_of` in that of the
    sinks. Bounded by who puts: see `Desk`.
    """

    finite = True  # the pipeline takes every frame, at its own pace
    fps = 1.0  # unknown
    unreadable = 0

    def __init__(self) -> None:
        """Begin without any."""
        self._queue: SimpleQueue[tuple[Ticket, Image] | None] = SimpleQueue()
        self._asked: set[Ticket] = set()  # about what still waits for its answer
        self._tickets: OrderedDict[int, Ticket] = OrderedDict()
        self._lock = Lock()

    def put(self, ticket: Ticket, image: Image) -> None:
        """Add an image (H, W, 3) uint8 BGR."""
        with self._lock:
            self._asked.add(ticket)
        self._queue.put((ticket, image))

    def withdraw(self, ticket: Ticket) -> None:
        """Let an image that still waits become no frame: it has its answer."""
        with self._lock:
            self._asked.discard(ticket)

    def close(self) -> None:
        """End `images`."""
        self._queue.put(None)

    def images(self, wait: Wait) -> Iterator[SourceImage]:
        """Yield each image that is still asked about, until closed."""
        frame_id = 0
        while (asked := self._queue.get()) is not None:
            ticket, image = asked
            if self._is_asked_for(ticket):
                frame_id += 1  # as the pacer counts
                self._remember(frame_id, ticket)
                yield SourceImage(0.0, image)

    def ticket_of(self, frame_id: int) -> Ticket | None:
        """Return whose frame it is; None once that has been told, or is too long ago."""
        with self._lock:
            return self._tickets.pop(frame_id, None)

    def _is_asked_for(self, ticket: Ticket) -> bool:
        with self._lock:
            return ticket in self._asked

    def _remember(self, frame_id: int, ticket: Ticket) -> None:
        with self._lock:
            self._tickets[frame_id] = ticket
            while len(self._tickets) > MAX_UNANSWERED:
                self._tickets.popitem(last=False)
