"""Opening a session over a link that comes and goes: a new attempt at once, beside those that still hope.

A connection whose first packet was lost sleeps for seconds before it tries again (RFC 6298: 1 s, then double), and the
link may come back meanwhile. So another attempt starts every so often, and the first that succeeds is taken. The
others are not cut short: over a slow link an attempt needs its time. (The idea is that of RFC 8305.)

Several servers take turns: one that refuses is followed at once by the next, one that hangs after that interval.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from itertools import cycle

from edge_client.transport.session import Session, SessionOpener
from splitnet.errors import LinkError, SplitError
from splitnet.messages import OpenSession

ATTEMPTS_AT_ONCE = 4  # for each server
ATTEMPT_INTERVAL_S = 0.5

FirstOpener = Callable[[Sequence[str], OpenSession], AbstractAsyncContextManager[Session]]


def staggered(
    opener: SessionOpener, interval_s: float | None = ATTEMPT_INTERVAL_S, at_once: int = ATTEMPTS_AT_ONCE
) -> FirstOpener:
    """Return an opener that makes an attempt every `interval_s` until one succeeds, so many at once for each server.

    Without an interval, an attempt follows only the failure of another one. When every server has failed it raises
    LinkError, or another SplitError if none of them will ever take this client.
    """

    @asynccontextmanager
    async def open_first(servers: Sequence[str], opening: OpenSession) -> AsyncIterator[Session]:
        attempts = _Attempts(opener, servers, opening)
        try:
            yield await attempts.first(interval_s, at_once)
        finally:
            await attempts.close()

    return open_first


class _Attempts:
    """Attempts in progress, each with its server and a stack that closes what it has opened."""

    def __init__(self, opener: SessionOpener, servers: Sequence[str], opening: OpenSession) -> None:
        self._opener = opener
        self._servers = servers
        self._opening = opening
        self._under_way: dict[asyncio.Task[Session], tuple[str, AsyncExitStack]] = {}  # in the order of their beginning
        self._errors: dict[str, Exception] = {}  # the latest of each server that has failed

    async def first(self, interval_s: float | None, at_once: int) -> Session:
        """Return the first session to be opened; of two at the same moment, the one tried first."""
        turns = cycle(self._servers)
        while True:
            self._begin(next(turns), at_once)
            done, _ = await asyncio.wait(self._under_way, timeout=interval_s, return_when=asyncio.FIRST_COMPLETED)
            finished = [attempt for attempt in self._under_way if attempt in done]
            for attempt in finished:
                if attempt.exception() is None:
                    await self._leave_others(attempt)
                    return attempt.result()
            for attempt in finished:
                self._note_failure(attempt)
            if len(self._errors) == len(self._servers):
                raise _error_of_all(self._errors)

    def _begin(self, server: str, at_once: int) -> None:
        if sum(other == server for other, _ in self._under_way.values()) >= at_once:
            return
        stack = AsyncExitStack()
        attempt = asyncio.create_task(stack.enter_async_context(self._opener(server, self._opening)))
        self._under_way[attempt] = server, stack

    def _note_failure(self, attempt: asyncio.Task[Session]) -> None:
        server, _ = self._under_way.pop(attempt)
        error = attempt.exception()
        if not isinstance(error, SplitError):
            attempt.result()  # a bug of ours: raises
        else:
            self._errors[server] = error

    async def _leave_others(self, taken: asyncio.Task[Session]) -> None:
        kept = self._under_way.pop(taken)
        await self.close()
        self._under_way[taken] = kept

    async def close(self) -> None:
        """End every attempt and close every session."""
        while self._under_way:
            attempt, (_, stack) = self._under_way.popitem()
            attempt.cancel()
            await asyncio.wait({attempt})
            if not attempt.cancelled():
                attempt.exception()  # looked at, or asyncio complains: what the others failed of interests nobody
            await stack.aclose()


def _error_of_all(errors: dict[str, Exception]) -> Exception:
    """Return what to raise when every server has failed: worth another attempt if one of them is."""
    first = next(iter(errors.values()))
    if len(errors) == 1:
        return first
    message = "; ".join(f"{server}: {error}" for server, error in errors.items())
    worth_another = any(isinstance(error, LinkError) for error in errors.values())
    return LinkError(message) if worth_another else type(first)(message)
