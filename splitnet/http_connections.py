"""The connections of an HTTP server, bounded in number and in patience: nobody holds one for nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

MAX_CONNECTIONS = 128
MAX_OF_ADDRESS = 32
LONGEST_S = 30.0  # of a connection whose peer neither asks nor reads
SWEEP_S = 5.0


class Connections:
    """Makes the protocols of a server, no more than MAX_CONNECTIONS at once, and ends those that stall."""

    def __init__(self, make: Any, clock: Callable[[], float] = time.monotonic) -> None:
        """Take what makes a protocol: aiohttp's server."""
        self._make = make
        self._clock = clock
        self._open: dict[object, _Watched] = {}  # by the protocol that each passes on to

    def protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol of a connection."""
        return _Watched(self._make(), self._open, self._clock)

    def moved(self, inner: object) -> None:
        """Learn that a request is whole, or something was written to a peer that reads. inner: what `make` made."""
        if inner in self._open:
            self._open[inner].moved()

    async def sweep(self) -> None:
        """End connections that have stalled, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self.end_stalled()

    def end_stalled(self) -> None:
        """End every connection on which nothing has moved for LONGEST_S."""
        for one in [one for one in self._open.values() if one.has_stalled()]:
            one.abort()


class _Watched(asyncio.Protocol):
    """Passes everything on to another protocol, and sees when something moves."""

    def __init__(self, inner: Any, open_ones: dict[object, _Watched], clock: Callable[[], float]) -> None:
        self._inner, self._open, self._clock = inner, open_ones, clock
        self._transport: asyncio.Transport | None = None
        self._moved_at, self._waiting, self._address = clock(), 0, ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or end at once if there are too many."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open[self._inner] = self
        self._inner.connection_made(transport)
        self._address = str((transport.get_extra_info("peername") or ("",))[0])
        alike = sum(one._address == self._address for one in self._open.values())
        if len(self._open) > MAX_CONNECTIONS or alike > MAX_OF_ADDRESS:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._open.pop(self._inner, None)
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what the peer has sent: that alone is no reason to stay, or a byte now and then would be."""
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Take the peer's end."""
        ends: bool | None = self._inner.eof_received()
        return ends

    def pause_writing(self) -> None:
        """Learn that the peer does not keep up."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Learn that the peer reads again."""
        self._moved_at = self._clock()
        self._inner.resume_writing()

    def has_stalled(self) -> bool:
        """Return whether nothing has moved for too long: no request, and no reading of what waits for the peer."""
        assert self._transport is not None
        waiting = self._transport.get_write_buffer_size()
        if waiting != self._waiting:
            self._waiting, self._moved_at = waiting, self._clock()
        return self._clock() - self._moved_at > LONGEST_S

    def moved(self) -> None:
        """Learn that the peer has taken something."""
        self._moved_at = self._clock()

    def abort(self) -> None:
        """End the connection without waiting for the peer."""
        assert self._transport is not None
        self._transport.abort()
