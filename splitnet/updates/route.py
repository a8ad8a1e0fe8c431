"""How a device gets from what it has to what it shall have: whole, or by one update after the other. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from splitnet.errors import UpdateError
from splitnet.updates.artefact import BUNDLE, Artefact


@dataclass(frozen=True)
class Route:
    """Artefacts to apply one after the other."""

    steps: tuple[Artefact, ...]
    sent_bytes: int
    other: str  # what would have been sent otherwise, for people; empty if there was no other way

    @property
    def in_words(self) -> str:
        """What is done, and instead of what."""
        whole = self.steps[0].kind == BUNDLE
        how = "the whole device half" if whole and len(self.steps) == 1 else f"{len(self.steps)} updates in a row"
        how = "one update" if not whole and len(self.steps) == 1 else how
        return f"{how}, {self.sent_bytes:,} bytes" + (f" instead of {self.other}" if self.other else "")


def cheapest_route(
    artefacts: Iterable[Artefact], goal: Artefact, base: str, held: frozenset[str] = frozenset()
) -> Route:
    """Return the way to a goal that sends the fewest bytes; of equal ones, that of the fewest steps.

    base: digest that the device has; empty: none. held: SHA-256 of files, as stored, that it need not fetch. Raises
    UpdateError if there is no way: nothing whole, and no chain from its base.
    """
    usable = [one for one in artefacts if one.form == goal.form and one.version <= goal.version]
    best: dict[str, tuple[int, int]] = {}
    waiting: list[tuple[int, int, int, str, tuple[Artefact, ...]]] = [(0, 0, 0, base, ())]
    order = 0
    found: list[tuple[int, tuple[Artefact, ...]]] = []
    while waiting:
        cost, steps, _, at, way = heapq.heappop(waiting)
        if at == goal.result and way:
            found.append((cost, way))
            continue
        if at in best and best[at] <= (cost, steps):
            continue
        best[at] = (cost, steps)
        for one in usable:
            if (one.kind == BUNDLE and not way) or (one.base and one.base == at):
                order += 1
                further = cost + _sent(one, held)
                if steps < len(usable):
                    heapq.heappush(waiting, (further, steps + 1, order, one.result, (*way, one)))
    if not found:
        raise UpdateError(f"no way leads to version {goal.version} of {goal.name}: sign it whole")
    cost, way = found[0]
    return Route(way, cost, _other(found, way))


def _sent(artefact: Artefact, held: frozenset[str]) -> int:
    return sum(file.stored_bytes for file in artefact.files if file.stored_sha256 not in held)


def _other(found: Sequence[tuple[int, tuple[Artefact, ...]]], taken: tuple[Artefact, ...]) -> str:
    """Return the best way of the other sort: whole if updates were taken, updates if it is sent whole."""
    for cost, way in found:
        if (way[0].kind == BUNDLE) != (taken[0].kind == BUNDLE):
            what = "the whole device half" if way[0].kind == BUNDLE else f"{len(way)} updates in a row"
            return f"{what}, {cost:,} bytes"
    return ""
