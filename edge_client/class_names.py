"""The names of what is found, which change with the model while everything that shows them stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload


class ClassNames(Sequence[str]):
    """The names of the current model's classes, by label."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)

    def use(self, names: Sequence[str]) -> None:
        """Take the names of another model."""
        self._names = tuple(names)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        """Return a name, or some."""
        return self._names[index]

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._names)
