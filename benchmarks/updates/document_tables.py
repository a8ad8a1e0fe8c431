"""The tables of documents that this room makes, and the results that they are made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.updates import update_tables

Result = Mapping[str, Any]


TABLES: Mapping[str, tuple[str, Callable[[Result], str]]] = {
    "update-tasks": ("update.json", update_tables.update_tasks),
    "update-bytes": ("update.json", update_tables.update_bytes),
    "update-bytes-50": ("update.json", update_tables.update_bytes_50),
    "update-ratios": ("update.json", update_tables.update_ratios),
    "update-applying": ("update-apply.json", update_tables.applying),
    "update-budgets": ("update.json", update_tables.update_budgets),
}
