"""The future of a queue, batch after batch, if nothing more came. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """What a batch is made of."""

    @property
    def kind(self) -> Hashable:
        """Only requests of one kind share a batch."""

    @property
    def deadline(self) -> float:
        """By when the batch must have ended, in seconds."""


T = TypeVar("T", bound=Timed)


@dataclass
class PlannedBatch(Generic[T]):
    """A batch and when it would end."""

    end: float
    places: int  # left in it
    requests: list[T] = field(default_factory=list)


@dataclass(frozen=True)
class Limits:
    """The most requests of a batch: of the one that starts now, and of those after it."""

    first: int
    later: int


def plan_batches(
    order: Sequence[T], now: float, limits: Limits, bound_s: Callable[[Hashable, int], float]
) -> list[PlannedBatch[T]]:
    """Serve requests in an order, in batches as large as allowed, without those that would be late.

    bound_s: how long a batch of a kind and size takes. A request joins the batch of its kind that still has a
    place; else it opens another one behind all that are there.
    """
    batches: list[PlannedBatch[T]] = []
    open_batches: dict[Hashable, PlannedBatch[T]] = {}
    to_come = Counter(request.kind for request in order)
    for request in order:
        kind = request.kind
        batch = open_batches.get(kind)
        if batch is None or not batch.places:
            size = min(to_come[kind], limits.later if batches else limits.first)
            start = batches[-1].end if batches else now
            batch = PlannedBatch(start + bound_s(kind, size), size)
        to_come[kind] -= 1
        if batch.end > request.deadline:
            continue
        if not batch.requests:
            batches.append(batch)
            open_batches[kind] = batch
        batch.requests.append(request)
        batch.places -= 1
    return batches
