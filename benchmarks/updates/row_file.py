"""Measured rows, a line of JSON each: what an interrupted run has finished is not measured again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]
Key = tuple[str, str, int, str]  # task, method, seed, variant


class RowFile:
    """Rows in the order in which they were measured."""

    def __init__(self, path: Path) -> None:
        """Read what is there; a line that was cut off counts as not measured."""
        self._path = path
        self.rows: list[Row] = []
        for line in path.read_text("utf-8").splitlines() if path.exists() else []:
            try:
                self.rows += json.loads(line)
            except ValueError:
                continue

    def has(self, key: Key) -> bool:
        """Return whether a method's variant was measured."""
        return any(key_of(row) == key for row in self.rows)

    def add(self, rows: Iterable[Row]) -> None:
        """Keep the rows of a variant, all or none."""
        found = list(rows)
        self.rows += found
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps(found)}\n")


def key_of(row: Row) -> Key:
    """Return which variant a row is of."""
    return row["task"], row["method"], row["seed"], row["variant"]
