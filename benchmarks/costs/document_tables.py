"""The tables of documents that this room makes, and the results that they are made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.costs.cost_tables import cameras, codec, overhead, small, switch, watching

Result = Mapping[str, Any]


TABLES: Mapping[str, tuple[str, Callable[[Result], str]]] = {
    "codec": ("codec.json", codec),
    "switch": ("switch.json", switch),
    "overhead": ("overhead.json", overhead),
    "watching": ("watching.json", watching),
    "small": ("small.json", small),
    "cameras": ("cameras.json", cameras),
}
