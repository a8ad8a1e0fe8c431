"""The tables of documents that this room makes, and the results that they are made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.sharing import sharing_tables

Result = Mapping[str, Any]


TABLES: Mapping[str, tuple[str, Callable[[Result], str]]] = {
    "sharing-correlations": ("sharing.json", sharing_tables.sharing_correlations),
    "sharing-frontier": ("sharing.json", sharing_tables.sharing_frontier),
    "sharing-baselines": ("sharing.json", sharing_tables.sharing_baselines),
    "sharing-distilled": ("sharing.json", sharing_tables.sharing_distilled),
    "sharing-memory": ("sharing.json", sharing_tables.sharing_memory),
    "sharing-time": ("sharing.json", sharing_tables.sharing_time),
}
