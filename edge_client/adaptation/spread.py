"""A figure that varies. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Spread(NamedTuple):
    """A figure that varies: the expected value, and the p90."""

    expected: float = 1.0
    p90: float = 1.0


NOMINAL = Spread()
