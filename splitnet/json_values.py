"""Values of a JSON file from elsewhere, checked one by one. Each raises TypeError on what it does not take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def text(value: Any) -> str:
    """Return printable text: it goes into messages, logs and terminals."""
    if not isinstance(value, str) or not value.isprintable():
        raise TypeError(f"expected printable text, found {value!r}")
    return value


def integer(value: Any) -> int:
    """Return a whole number."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"expected a whole number, found {value!r}")
    return value


def integers(values: Mapping[Any, Any]) -> dict[str, int]:
    """Return whole numbers by name."""
    return {text(name): integer(value) for name, value in values.items()}


def number(value: Any) -> float:
    """Return a finite number."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise TypeError(f"expected a number, found {value!r}")
    return value
