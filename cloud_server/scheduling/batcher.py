"""The queue between the sessions and the engine. Pure: no clock, no lock, no I/O.

A request takes its place in the queue when its frame arrives and becomes ready when it is decoded. It leaves with a
batch of its own kind; or as hopeless, when no batch can end before its deadline and others are waiting.

Order. While all deadlines can be met, the earliest goes first. When they cannot, sessions take turns (start-time
fair queueing, Goyal et al., SIGCOMM 1996). Each session has a virtual time that advances with every frame computed
for it, and the one furthest behind goes first, whatever rate it sends at. When the queue is full, the frame that
would be served last makes room.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from cloud_server.scheduling.batch_cost import BatchCost
from cloud_server.scheduling.fair_queue import FairQueue
from cloud_server.scheduling.lookahead import Limits, PlannedBatch, plan_batches
from cloud_server.scheduling.patience import Patience
from cloud_server.scheduling.payer import group_of
from splitnet.errors import ShedError

PATIENCE_S = 1.0  # by when a frame without a deadline is due among the others
DEARER = 1.5  # times: then batching pays
GAP_SHARE = 0.1  # of the newest interval between ready frames in their average


class Phase(Enum):
    """Where a request is on its way. Only the batcher changes it."""

    NEW = "new"
    ADMITTED = "admitted"  # has a place in the queue, is being decoded
    READY = "ready"
    TAKEN = "taken"  # in a batch, expired or hopeless
    WITHDRAWN = "withdrawn"  # cancelled, undecodable, or made to give way


@dataclass(eq=False)
class Request:
    """One frame for the engine. Times in seconds on the caller's clock."""

    kind: Hashable  # only requests of one kind share a batch
    arrived_at: float
    deadline: float = math.inf
    session: Hashable = None  # sessions are served by turns
    phase: Phase = field(default=Phase.NEW, init=False)

    @property
    def due(self) -> float:
        """What the order goes by: the deadline; without one, nobody should be waited for longer than that."""
        return self.arrived_at + PATIENCE_S if math.isinf(self.deadline) else self.deadline


R = TypeVar("R", bound=Request)


@dataclass(frozen=True)
class Batch(Generic[R]):
    """What the engine does next."""

    requests: list[R]  # of one kind; empty if nothing is ready
    expired: list[R]  # too late already: to be answered, not to be computed
    hopeless: list[R]  # would be late even if computed at once, and in the way of others: the same


class Batcher(Generic[R]):
    """A bounded queue that forms batches by kind, deadline and session."""

    def __init__(self, max_batch_size: int, max_queue: int, max_per_session: int | None = None) -> None:
        """Take the largest batch and the most requests that may wait, decoding included, in all and per session."""
        self._max_batch_size = max_batch_size
        self._max_queue = max_queue
        self._max_per_session = max_queue + 1 if max_per_session is None else max_per_session
        self._ready: list[R] = []
        self._queue: FairQueue[R] = FairQueue()
        self._costs: defaultdict[Hashable, BatchCost] = defaultdict(BatchCost)
        self._gap_s = math.inf  # mean interval between ready requests
        self._last_ready_at = -math.inf
        self._first_ready_at = -math.inf  # of those that are ready now
        self._patience = Patience()

    @property
    def depth(self) -> int:
        """The number of requests that wait, decoding included."""
        return len(self._queue)

    def bound_s(self, size: int) -> float:
        """Return what a batch takes at most, of whichever kind takes longest; 0 while nothing is known."""
        return max((cost.bound_s(size) for cost in self._costs.values()), default=0.0)

    def observe(self, kind: Hashable, size: int, duration_s: float) -> None:
        """Learn from a batch that ran."""
        self._costs[kind].observe(size, duration_s)

    def admit(self, request: R) -> R | None:
        """Give a new request a place; returns the request that had to give way, to be answered as shed.

        Raises ShedError when its session has too many waiting already, or when the queue is full and no other
        session is better served than this one.
        """
        if self._queue.waiting(request.session) >= self._max_per_session:
            raise ShedError(f"{self._max_per_session} frames of this session wait already. Send fewer")
        victim = self._give_way(request) if self.depth >= self._max_queue else None
        self._queue.add(request)
        request.phase = Phase.ADMITTED
        self._patience.seen(group_of(request.session), request.arrived_at, request.deadline - request.arrived_at)
        return victim

    def ready(self, request: R, now: float) -> None:
        """Let a decoded request join the next batch; one that was withdrawn meanwhile is left alone."""
        if request.phase is not Phase.ADMITTED:
            return
        request.phase = Phase.READY
        if not self._ready:
            self._first_ready_at = now
        self._ready.append(request)
        gap_s = now - self._last_ready_at
        self._gap_s = gap_s if math.isinf(self._gap_s) else self._gap_s + GAP_SHARE * (gap_s - self._gap_s)
        self._last_ready_at = now

    def withdraw(self, request: R) -> None:
        """Free a request's place; one that was taken or withdrawn already is left alone."""
        if request.phase is Phase.READY:
            self._ready.remove(request)
        if request.phase in (Phase.ADMITTED, Phase.READY):
            self._leave(request, Phase.WITHDRAWN)

    def start_at(self, now: float) -> float:
        """Return when the next batch should start: `now` or earlier for at once, infinity if nothing is ready.

        To wait for one more frame delays the n that are ready, but saves it the wait for a whole batch. For a
        batch of a*n + b the sum of all delays gets smaller if it comes within (b - a*n) / (n + 1).
        """
        if not self._ready:
            return math.inf
        waiting = min(self._ready, key=_by_due)
        cost = self._costs[waiting.kind]
        alike = sum(request.kind == waiting.kind for request in self._ready)
        pays_s = (cost.fixed_s - cost.per_frame_s * alike) / (alike + 1) if cost.known else 0.0
        if alike >= self._max_batch_size or self._gap_s >= pays_s or len(self._ready) > alike:
            return now
        latest = min(request.deadline for request in self._ready) - cost.bound_s(alike + 1)
        return min(self._first_ready_at + pays_s, latest)

    def take(self, now: float) -> Batch[R]:
        """Remove and return the next batch, and all ready requests that cannot be in time any more."""
        expired, hopeless, alive = self._partition(now)
        batch = self._best_batch(alive, now)
        if not batch and hopeless:  # the engine would be idle, and nobody would notice if costs have fallen since
            batch = [max(hopeless, key=_by_due)]
            hopeless.remove(batch[0])
        if batch:
            self._queue.serve(batch)
        for request in (*expired, *hopeless, *batch):
            self._leave(request, Phase.TAKEN)
        self._ready = [request for request in self._ready if request.phase is Phase.READY]
        self._first_ready_at = now
        return Batch(batch, expired, hopeless)

    def _partition(self, now: float) -> tuple[list[R], list[R], list[R]]:
        """Return the ready requests that are expired, those that are hopeless, and those that can be in time."""
        expired: list[R] = []
        hopeless: list[R] = []
        alive: list[R] = []
        for request in self._ready:
            if request.deadline <= now:
                expired.append(request)
            elif self._is_late(request, now):
                hopeless.append(request)
            else:
                alive.append(request)
        return expired, hopeless, alive

    def _is_late(self, request: R, now: float) -> bool:
        return now + self._costs[request.kind].bound_s(1) > request.deadline

    def _best_batch(self, alive: Sequence[R], now: float) -> list[R]:
        """Return the batch to start now, none of whose requests would be late."""
        if not alive:
            return []
        most = self._largest_that_others_bear(alive[0].kind, now)
        planned = self._plan(sorted(alive, key=_by_due), now, most)
        if _count(planned) == len(alive):
            return planned[0].requests
        by_turn = self._queue.order(alive)
        # A full batch is the most work done, but the first in turn may have time only for a smaller one.
        most = self._largest_that_others_bear(by_turn[0].kind, now)
        small = self._plan(by_turn, now, min(most, self._largest_in_time(by_turn[0], now)))
        full = self._plan(by_turn, now, most)
        return (small if self._is_better(small, full) else full)[0].requests

    def _is_better(self, small: Sequence[PlannedBatch[R]], full: Sequence[PlannedBatch[R]]) -> bool:
        """Return whether to begin with a small batch, for the first in turn, rather than with a full one.

        It is when it leaves more frames in time. It is too when it leaves as many, and costs a frame less than DEARER
        times a full one: a camera that floods always has fresh frames to fill a batch with, and would push out
        another's one old frame.
        """
        if _count(small) != _count(full):
            return _count(small) > _count(full)
        first, largest = small[0].requests, self._max_batch_size
        cost = self._costs[first[0].kind]
        return cost.duration_s(len(first)) / len(first) <= DEARER * cost.duration_s(largest) / largest

    def _plan(self, order: Sequence[R], now: float, first_size: int) -> list[PlannedBatch[R]]:
        limits = Limits(first_size, self._max_batch_size)
        return plan_batches(order, now, limits, lambda kind, size: self._costs[kind].bound_s(size))

    def _largest_that_others_bear(self, kind: Hashable, now: float) -> int:
        """Return the largest batch that a frame may find under way that comes just then, of whoever else is served."""
        cost, most_s = self._costs[kind], self._patience.longest_s(now)
        sizes = range(self._max_batch_size, 1, -1)
        return next((size for size in sizes if cost.bound_s(size) <= most_s), 1)

    def _largest_in_time(self, request: R, now: float) -> int:
        """Return the largest batch that still ends before a request's deadline."""
        cost = self._costs[request.kind]
        sizes = range(self._max_batch_size, 1, -1)
        return next((size for size in sizes if now + cost.bound_s(size) <= request.deadline), 1)

    def _give_way(self, newcomer: R) -> R:
        """Withdraw the request that would be served last, unless that is the newcomer: then raise ShedError."""
        last = self._queue.who_gives_way(newcomer.session)
        if last is None:
            raise ShedError(f"the server is busy: {self.depth} frames wait already. Send fewer or smaller ones")
        self.withdraw(last)
        return last

    def _leave(self, request: R, phase: Phase) -> None:
        request.phase = phase
        self._queue.remove(request)


def _by_due(request: Request) -> tuple[float, float]:
    return request.due, request.arrived_at


def _count(planned: Sequence[PlannedBatch[R]]) -> int:
    return sum(len(batch.requests) for batch in planned)
