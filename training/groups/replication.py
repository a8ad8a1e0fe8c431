"""Which part each device makes where there are more devices than parts. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from splitnet.errors import ConfigError


def replication_plan(devices: int, losses: Sequence[float]) -> tuple[int, ...]:
    """Return the part, from 1, that each device makes: every part once, then those whose loss costs most again.

    losses: for each part what the accuracy falls by without it. A part that two devices make is hardly ever lost, so
    the next spare goes to the costliest of those that the fewest devices make. ConfigError with too few devices.
    """
    parts = len(losses)
    if parts < 1 or devices < parts:
        raise ConfigError(f"{devices} devices cannot make {parts} parts: use a group of fewer parts")
    by_cost = sorted(range(1, parts + 1), key=lambda part: (-losses[part - 1], part))
    return (*range(1, parts + 1), *(by_cost[spare % parts] for spare in range(devices - parts)))
