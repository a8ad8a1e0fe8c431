"""Waiting for whichever of two comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


async def first_of(wanted: Awaitable[object], other: Awaitable[object], timeout_s: float | None = None) -> bool:
    """Wait for either of two; returns whether the wanted one has finished."""
    tasks = [asyncio.ensure_future(wanted), asyncio.ensure_future(other)]
    done, pending = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return tasks[0] in done
