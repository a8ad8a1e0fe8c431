"""The best set of merges within a budget of memory: who is a donor, who a recipient, and by which merge. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, product

MAX_MEMBERS = 6  # every set of donors is tried: 2^MAX_MEMBERS
MAX_FRONT = 8  # merges of a recipient that are kept: the best of each size


@dataclass(frozen=True)
class Priced:
    """A merge as the search sees it."""

    donor: str
    recipient: str
    index: int  # of the merge among all
    loss: float  # predicted, in points
    saved_bytes: int


@dataclass(frozen=True)
class Choice:
    """Merges that go together."""

    merges: tuple[Priced, ...]
    bytes: int  # of all members with them

    @property
    def loss(self) -> float:
        """The sum of the losses."""
        return sum(one.loss for one in self.merges)


def choices(sizes: Mapping[str, int], merges: Sequence[Priced]) -> list[Choice]:
    """Return the sets of merges that none beats in both bytes and loss, the largest first: from no merge at all on.

    sizes: bytes of each member alone. No donor is a recipient.
    """
    total = sum(sizes.values())
    found = [Choice(kept, total - sum(one.saved_bytes for one in kept)) for kept in _sets(list(sizes), merges)]
    return _front(found)


def best_within(front: Sequence[Choice], budget_bytes: float) -> tuple[Choice, bool]:
    """Return the choice with the least loss within a budget, or the smallest of all; and whether it is within."""
    fitting = [choice for choice in front if choice.bytes <= budget_bytes]
    if fitting:
        return min(fitting, key=lambda choice: (choice.loss, choice.bytes)), True
    return min(front, key=lambda choice: (choice.bytes, choice.loss)), False


def _sets(names: Sequence[str], merges: Sequence[Priced]) -> Iterator[tuple[Priced, ...]]:
    """Yield sets of merges of which no donor is a recipient; not those that are dominated for one recipient."""
    for donors in chain.from_iterable(combinations(names, count) for count in range(1, len(names) + 1)):
        options: list[list[Priced | None]] = []
        for name in names:
            own = [one for one in merges if one.recipient == name and one.donor in donors and one.saved_bytes > 0]
            options.append([None] if name in donors else [None, *_best(own)])
        for kept in product(*options):
            yield tuple(one for one in kept if one is not None)


def _best(merges: Sequence[Priced]) -> list[Priced]:
    """Return the merges of one recipient that no other beats in loss and bytes saved, at most MAX_FRONT."""
    front: list[Priced] = []
    for one in sorted(merges, key=lambda merge: (merge.loss, -merge.saved_bytes)):
        if not front or one.saved_bytes > front[-1].saved_bytes:
            front.append(one)
    step = max(1, -(-len(front) // MAX_FRONT))
    return front[::-1][::step]


def _front(found: Sequence[Choice]) -> list[Choice]:
    front: list[Choice] = []
    for one in sorted(found, key=lambda choice: (-choice.bytes, choice.loss)):
        while front and front[-1].loss >= one.loss:
            front.pop()
        front.append(one)
    return front
