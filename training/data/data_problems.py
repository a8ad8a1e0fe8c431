"""Problems of somebody's data: counted by kind, each with its file and entry."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

SHOWN = 3  # entries of a kind that its summary names
KEPT = 1000  # entries of a kind that are remembered at all


@dataclass
class DataProblems:
    """Kinds of oddities in the order in which they were met."""

    counts: Counter[str] = field(default_factory=Counter)
    entries: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, entry: str) -> None:
        """Count one oddity; entry: where it is, as a user would look for it."""
        self.counts[kind] += 1
        if len(self.entries[kind]) < KEPT:
            self.entries[kind].append(entry)

    def summary(self) -> list[str]:
        """Return one line for each kind: how many, and the first of them."""
        return [f"{count} x {kind}: {self._first(kind)}" for kind, count in self.counts.items()]

    def _first(self, kind: str) -> str:
        more = ", ..." if self.counts[kind] > SHOWN else ""
        return ", ".join(self.entries[kind][:SHOWN]) + more

    def report(self) -> str:
        """Return everything that is remembered, a line for each entry."""
        return "".join(f"{kind}: {entry}\n" for kind in self.counts for entry in self.entries[kind])
