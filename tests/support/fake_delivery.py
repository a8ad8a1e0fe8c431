"""A server's models without a network: a repository's files, offers that a test makes, and what a device has said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from cloud_server.delivery.repository import Repository
from splitnet.errors import LinkError, ProtocolError
from splitnet.updates.delivery import Chunk, DeviceState, FetchRequest, Offer, Phase


@dataclass
class FakeDelivery:
    """Stands in for `transport.delivery.Delivery`.

    pieces_left: after so many pieces of models the link is cut once; below 0: never. hears: is told what a device says.
    """

    repository: Repository
    pieces_left: int = -1
    offers: list[Offer] = field(default_factory=list)  # said in this order, the last one to whoever comes later
    said: list[DeviceState] = field(default_factory=list)
    sent: list[tuple[str, int, int]] = field(default_factory=list)  # of models: digest, offset, bytes
    hears: Callable[[DeviceState], None] = lambda state: None
    opened: int = 0
    _waiting: asyncio.Queue[Offer] = field(default_factory=asyncio.Queue)

    @asynccontextmanager
    async def open(self, *_: object) -> AsyncIterator[FakeDelivery]:
        """Yield it, as `open_delivery` does."""
        self.opened += 1
        self._waiting = asyncio.Queue()
        for offer in self.offers:
            self._waiting.put_nowait(offer)
        yield self

    def push(self, offer: Offer) -> None:
        """Offer something else from now on."""
        self.offers = [offer]
        self._waiting.put_nowait(offer)

    @property
    def phases(self) -> list[Phase]:
        """What a device has been through, each once in a row."""
        found: list[Phase] = []
        for state in self.said:
            if not found or found[-1] is not state.phase:
                found.append(state.phase)
        return found

    async def whole(self, name: str, most_bytes: int) -> bytes | None:
        """Return a list."""
        return self.repository.metadata_file(name)

    async def fetch(self, request: FetchRequest) -> Chunk:
        """Return a piece of a list or of a model's file."""
        await asyncio.sleep(0)
        data = self.repository.metadata_file(request.file) if "." in request.file else None
        if data is not None:
            return Chunk(data[request.offset : request.offset + request.max_bytes])
        if "." in request.file:
            return Chunk(b"", is_missing=True)
        if self.pieces_left == 0:
            self.pieces_left = -1
            raise LinkError("cut")
        self.pieces_left -= 1
        piece = self.repository.piece(request.file, request.offset, request.max_bytes)
        self.sent.append((request.file, request.offset, len(piece or b"")))
        return Chunk(piece or b"", is_missing=piece is None)

    def say(self, state: DeviceState) -> None:
        """Hear what a device runs."""
        self.said.append(state)
        self.hears(state)

    async def offer(self) -> Offer:
        """Return the next offer."""
        if not self.offers:
            raise ProtocolError("the server has no signed models")
        return await self._waiting.get()
