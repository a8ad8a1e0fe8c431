"""A group's frame as the engine takes it: the parts that have come, and what became of them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cloud_server.groups.frame_join import JoinedFrame
from splitnet.messages import Frame


@dataclass(frozen=True)
class GroupFrame(Frame):
    """A frame whose payload came in parts; its own is empty."""

    parts: Mapping[int, Frame] = field(default_factory=dict)  # by their numbers, in order


def group_frame(joined: JoinedFrame[Any], now: float) -> GroupFrame:
    """Return parts as one frame, due when they are."""
    first = next(iter(joined.parts.values()))
    left_ms = 0 if math.isinf(joined.due) else max(1, round(1000 * (joined.due - now)))
    return GroupFrame(
        first.frame_id,
        first.capture_time_us,
        first.operating_point,
        b"",
        first.frame_width,
        first.frame_height,
        left_ms,
        group_stream=first.group_stream,
        parts=joined.parts,
    )


@dataclass(frozen=True)
class PartsTaken:
    """What became of a frame's parts when they were decoded."""

    used: tuple[int, ...]
    refused: Mapping[int, str] = field(default_factory=dict)  # why, by part
