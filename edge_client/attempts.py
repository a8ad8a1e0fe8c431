"""Opening a session over a link that comes and goes: a new attempt at once, beside those that still hope.

A connection whose first packet was lost sleeps for seconds before it tries again (RFC 6298: 1 s, then double), and the
link may come back meanwhile. So another attempt starts every so often, and the first that succeeds is taken. The
others are not cut short: over a slow link an attempt needs its time. (The idea is that of RFC 8305.)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from edge_client.connection import SessionOpener
from edge_client.session import Session
from splitnet.messages import OpenSession

ATTEMPTS_AT_ONCE = 4
ATTEMPT_INTERVAL_S = 0.5


def staggered(
    opener: SessionOpener, interval_s: float = ATTEMPT_INTERVAL_S, at_once: int = ATTEMPTS_AT_ONCE
) -> SessionOpener:
    """Return an opener that makes an attempt every `interval_s` until one succeeds, so many at once at most.

    It raises what the first attempt to fail raises.
    """

    @asynccontextmanager
    async def open_first(server: str, opening: OpenSession) -> AsyncIterator[Session]:
        attempts = _Attempts(opener, server, opening)
        try:
            yield await attempts.first(interval_s, at_once)
        finally:
            await attempts.close()

    return open_first


class _Attempts:
    """Attempts under way, each with a stack that closes what it has opened."""

    def __init__(self, opener: SessionOpener, server: str, opening: OpenSession) -> None:
        self._opener = opener
        self._server = server
        self._opening = opening
        self._stacks: dict[asyncio.Task[Session], AsyncExitStack] = {}

    async def first(self, interval_s: float, at_once: int) -> Session:
        """Return the first session to be opened; raise what the first attempt to fail raises."""
        while True:
            if len(self._stacks) < at_once:
                self._begin()
            done, _ = await asyncio.wait(self._stacks, timeout=interval_s, return_when=asyncio.FIRST_COMPLETED)
            if done:
                succeeded = [attempt for attempt in done if attempt.exception() is None]
                taken = (succeeded or list(done))[0]
                session = taken.result()
                await self._leave_others(taken)
                return session

    def _begin(self) -> None:
        stack = AsyncExitStack()
        attempt = asyncio.create_task(stack.enter_async_context(self._opener(self._server, self._opening)))
        self._stacks[attempt] = stack

    async def _leave_others(self, taken: asyncio.Task[Session]) -> None:
        stack = self._stacks.pop(taken)
        await self.close()
        self._stacks[taken] = stack

    async def close(self) -> None:
        """End every attempt and close every session."""
        while self._stacks:
            attempt, stack = self._stacks.popitem()
            attempt.cancel()
            await asyncio.wait({attempt})
            if not attempt.cancelled():
                attempt.exception()  # looked at, or asyncio complains: what the others failed of interests nobody
            await stack.aclose()
