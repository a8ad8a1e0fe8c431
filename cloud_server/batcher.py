"""The queue between the sessions and the engine. Pure: no clock, no lock, no I/O.

A request takes its place in the queue when its frame arrives, becomes ready when it is decoded, and
leaves with a batch of its own kind, earliest deadline first. Nothing is waited for: while one batch runs,
the next one gathers by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from splitnet.errors import ShedError
from splitnet.operating_point import Mode


class Phase(Enum):
    """Where a request is on its way. Only the batcher changes it."""

    NEW = "new"
    ADMITTED = "admitted"  # has a place in the queue, is being decoded
    READY = "ready"
    TAKEN = "taken"  # in a batch, or expired
    WITHDRAWN = "withdrawn"  # cancelled, or undecodable


@dataclass(eq=False)
class Request:
    """One frame for the engine. Times in seconds on the caller's clock."""

    kind: Mode  # only requests of one kind share a batch
    arrived_at: float
    deadline: float = math.inf
    phase: Phase = field(default=Phase.NEW, init=False)


R = TypeVar("R", bound=Request)


@dataclass(frozen=True)
class Batch(Generic[R]):
    """What the engine does next."""

    requests: list[R]  # of one kind, earliest deadline first; empty if nothing is ready
    expired: list[R]  # too late already: to be answered, not to be computed


class Batcher(Generic[R]):
    """A bounded queue that forms batches by kind and deadline."""

    def __init__(self, max_batch_size: int, max_queue: int) -> None:
        """Take the largest batch and the most requests that may wait, decoding included."""
        self._max_batch_size = max_batch_size
        self._max_queue = max_queue
        self._ready: list[R] = []  # in order of readiness
        self._depth = 0

    @property
    def depth(self) -> int:
        """The number of requests that wait, decoding included."""
        return self._depth

    @property
    def has_ready(self) -> bool:
        """Whether `take` would return anything."""
        return bool(self._ready)

    def admit(self, request: R) -> None:
        """Give a new request a place in the queue. Raises ShedError when the queue is full."""
        if self._depth >= self._max_queue:
            raise ShedError(f"the server is busy: {self._depth} frames wait already. Send fewer or smaller ones")
        self._depth += 1
        request.phase = Phase.ADMITTED

    def ready(self, request: R) -> None:
        """Let a decoded request join the next batch; one that was withdrawn meanwhile is left alone."""
        if request.phase is Phase.ADMITTED:
            request.phase = Phase.READY
            self._ready.append(request)

    def withdraw(self, request: R) -> None:
        """Free a request's place; one that was taken or withdrawn already is left alone."""
        if request.phase is Phase.READY:
            self._ready.remove(request)
        if request.phase in (Phase.ADMITTED, Phase.READY):
            self._leave(request, Phase.WITHDRAWN)

    def take(self, now: float) -> Batch[R]:
        """Remove and return the next batch, and all ready requests whose deadline has passed."""
        expired = [request for request in self._ready if request.deadline <= now]
        alive = [request for request in self._ready if request.deadline > now]
        alive.sort(key=lambda request: (request.deadline, request.arrived_at))
        batch = [request for request in alive if request.kind is alive[0].kind][: self._max_batch_size]
        for request in (*expired, *batch):
            self._leave(request, Phase.TAKEN)
        self._ready = [request for request in alive if request.phase is Phase.READY]
        return Batch(batch, expired)

    def _leave(self, request: R, phase: Phase) -> None:
        request.phase = phase
        self._depth -= 1
