"""The tables of documents that this room makes, and the results that they are made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.groups import classification_tables, device_tables

Result = Mapping[str, Any]


TABLES: Mapping[str, tuple[str, Callable[[Result], str]]] = {
    "group-classification": ("group-trained.json", classification_tables.group_classification),
    "group-networks": ("group.json", classification_tables.group_networks),
    "group-features": ("group.json", classification_tables.group_features),
    "group-filled": ("group-trained.json", classification_tables.group_filled),
    "group-devices": ("group-devices.json", device_tables.group_devices),
    "group-lost": ("group-devices.json", device_tables.group_lost),
    "group-joins": ("group-devices.json", device_tables.group_joins),
    "group-detection": ("group-detection.json", device_tables.group_detection),
    "group-regions": ("group-regions.json", device_tables.group_regions),
}
