"""A device's side of delivery: what the server offers, and pieces of files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import grpc

from edge_client.transport.channel import open_channel
from edge_client.transport.credentials import NO_TLS, Credentials, ServerTls
from edge_client.transport.status import session_error
from protos import model_delivery_pb2 as pb
from protos.model_delivery_pb2_grpc import ModelDeliveryStub
from splitnet.delivery_wire import chunk_from_proto, fetch_request_to_proto, offer_from_proto, state_to_proto
from splitnet.errors import LinkError, ProtocolError, SplitError
from splitnet.updates.delivery import Chunk, DeviceState, FetchRequest, Offer

ANSWER_TIMEOUT_S = 20.0  # for one piece, over the thinnest link

_FetchCall = grpc.aio.StreamStreamCall[pb.FetchRequest, pb.Chunk]
_WatchCall = grpc.aio.StreamStreamCall[pb.DeviceState, pb.Offer]


class Delivery:
    """A channel to the server's models. Use it from its event loop's thread only."""

    def __init__(self, channel: grpc.aio.Channel, tls: ServerTls) -> None:
        self._stub = ModelDeliveryStub(channel)  # type: ignore[no-untyped-call]
        self._tls = tls
        self._fetching: _FetchCall | None = None
        self._watching: _WatchCall | None = None
        self._saying: asyncio.Task[None] | None = None
        self._unsaid: asyncio.Queue[DeviceState] = asyncio.Queue()

    async def whole(self, name: str, most_bytes: int) -> bytes | None:
        """Return a file of TUF; None if the server has none. Raises as `fetch`, ProtocolError if it has no end."""
        data = b""
        while len(data) <= most_bytes:
            chunk = await self.fetch(FetchRequest(name, len(data)))
            if chunk.is_missing:
                return None
            if not chunk.data:
                return data
            data += chunk.data
        raise ProtocolError(f"the server sends over {most_bytes} bytes of {name}: refused")

    async def fetch(self, request: FetchRequest) -> Chunk:
        """Return a piece of a file. Raises LinkError if it does not come, another SplitError if it never will."""
        if self._fetching is None:
            self._fetching = self._stub.Fetch(metadata=self._tls.metadata)
        call = self._fetching
        try:
            with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):  # reading says why
                await call.write(fetch_request_to_proto(request))
            message = await asyncio.wait_for(call.read(), ANSWER_TIMEOUT_S)
        except asyncio.TimeoutError:
            self._end_fetching()
            raise LinkError(f"no piece of a model has come for {ANSWER_TIMEOUT_S:g} s") from None
        except grpc.aio.AioRpcError as error:
            self._end_fetching()
            raise _in_words(error) from error
        if not isinstance(message, pb.Chunk):
            self._end_fetching()
            raise LinkError("the server has ended the download")
        if len(message.data) > request.max_bytes:
            self._end_fetching()
            raise ProtocolError("the server sends more than it was asked for")
        return chunk_from_proto(message)

    def say(self, state: DeviceState) -> None:
        """Tell the server what this device runs, without waiting; the first time opens the stream of offers."""
        if self._tls.device_id is not None:
            state = replace(state, device_id=self._tls.device_id)
        if self._watching is None:
            self._watching = self._stub.Watch(metadata=self._tls.metadata)
            self._saying = asyncio.create_task(self._say_all(self._watching))
        self._unsaid.put_nowait(state)

    async def _say_all(self, call: _WatchCall) -> None:
        with suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):  # reading says why
            while True:
                await call.write(state_to_proto(await self._unsaid.get()))

    async def offer(self) -> Offer:
        """Wait for the next offer. Raises LinkError, or another SplitError if there will be none."""
        if self._watching is None:
            raise LinkError("nothing was said to the server yet")
        try:
            message = await self._watching.read()
        except grpc.aio.AioRpcError as error:
            raise _in_words(error) from error
        if not isinstance(message, pb.Offer):
            raise LinkError("the server has ended the offers")
        return offer_from_proto(message)

    def close(self) -> None:
        """End both streams."""
        self._end_fetching()
        if self._saying is not None:
            self._saying.cancel()
        if self._watching is not None:
            self._watching.cancel()

    def _end_fetching(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            self._fetching = None


@asynccontextmanager
async def open_delivery(
    server: str, use_proxy: bool = False, credentials: Credentials | None = None
) -> AsyncIterator[Delivery]:
    """Yield the models of HOST:PORT. Raises LinkError if its name is not known."""
    tls = NO_TLS if credentials is None else credentials.of(server)
    async with await open_channel(server, use_proxy, tls) as channel:
        delivery = Delivery(channel, tls)
        try:
            yield delivery
        finally:
            delivery.close()


def _in_words(error: grpc.aio.AioRpcError) -> SplitError:
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return ProtocolError("the server gives no models: it is older than this device")
    return session_error(error.code(), error.details() or "")
