"""The tables of documents that this room makes, and the results that they are made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.video.video_tables import consistency, delays, video, video_ratios
from benchmarks.video.wire_tables import wire

Result = Mapping[str, Any]


TABLES: Mapping[str, tuple[str, Callable[[Result], str]]] = {
    "video": ("video.json", video),
    "video-ratios": ("video.json", video_ratios),
    "consistency": ("consistency.json", consistency),
    "delay": ("delay.json", delays),
    "wire": ("wire.json", wire),
}
