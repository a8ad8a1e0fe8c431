"""Notices that what a device shows, or whom it trusts, has changed: then it opens a new channel."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from splitnet.errors import ConfigError

LOOK_INTERVAL_S = 5.0

logger = logging.getLogger(__name__)


async def watch(
    state: Callable[[], object], on_change: Callable[[], None], interval_s: float = LOOK_INTERVAL_S
) -> None:
    """Call on_change whenever the state is another; until cancelled. What cannot be read has not changed yet."""
    known = state()
    while True:
        await asyncio.sleep(interval_s)
        try:
            found = await asyncio.to_thread(state)
        except ConfigError:
            continue
        if found != known:
            known = found
            logger.info("the certificate or the identity has changed: opening a new channel")
            on_change()
