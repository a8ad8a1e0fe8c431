"""One session with the server: a gRPC stream that is opened, carries frames, and breaks or ends.

A session never mends itself: when it is over, open another (see `connection`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace

import grpc

from edge_client.transport.channel import open_channel
from edge_client.transport.credentials import NO_TLS, Credentials
from edge_client.transport.status import CUT, session_error
from protos import split_inference_pb2 as pb
from protos.split_inference_pb2_grpc import SplitInferenceStub
from splitnet.device_status import MAX_STATUS_BYTES, DeviceStatus
from splitnet.errors import BundleMismatchError, LinkError, ProtocolError
from splitnet.messages import (
    Frame,
    FrameError,
    Layer,
    OpenSession,
    Reply,
    SessionOpened,
)
from splitnet.operating_point import Codec, Mode
from splitnet.text import printable
from splitnet.wire.device_status import status_to_proto
from splitnet.wire.sessions import reply_from_proto, request_to_proto

_STREAM_IS_OVER = (grpc.aio.AioRpcError, asyncio.InvalidStateError)  # of writing; reading says why

_Call = grpc.aio.StreamStreamCall[pb.DetectRequest, pb.DetectReply]


class Session:
    """A stream to a server. Use it from its event loop's thread only."""

    def __init__(self, call: _Call, server: str) -> None:
        self._call = call
        self._server = server
        self._outbox: asyncio.Queue[Frame | Layer | DeviceStatus | None] = asyncio.Queue()
        self._aborted = False
        self._opened: SessionOpened | None = None

    @property
    def references_kept(self) -> int:
        """The number of frames that the server keeps for later ones to build on; 0 if it does not say."""
        limits = None if self._opened is None else self._opened.limits
        return 0 if limits is None else limits.max_references

    @property
    def id(self) -> str:
        """What the server's log calls the session; empty if the server does not say."""
        return "" if self._opened is None else self._opened.session_id

    @property
    def codecs(self) -> frozenset[Codec] | None:
        """What the server takes for all bundles of the session; None if it does not say."""
        opened = self._opened
        if opened is None or opened.bundle is None:
            return None
        only_images = not all(one.takes_features for one in opened.further)
        return frozenset(c for c in opened.bundle.codecs if not (only_images and c.mode is Mode.SPLIT))

    @property
    def max_layers(self) -> int:
        """The number of layers that the server takes a frame in; 0: whole frames only."""
        limits = None if self._opened is None else self._opened.limits
        return 0 if limits is None else limits.max_layers

    @property
    def server(self) -> str:
        """The HOST:PORT at the other end."""
        return self._server

    async def open(self, opening: OpenSession) -> SessionOpened:
        """Open the session; raise LinkError or ProtocolError if the server does not agree."""
        with suppress(*_STREAM_IS_OVER):
            await self._call.write(request_to_proto(opening))
        reply = await self._read()
        if not isinstance(reply, SessionOpened):
            raise ProtocolError("the server did not open the session: check that --server is a cloud-server")
        _check(reply, opening)
        self._opened = reply
        return reply

    @property
    def takes_status(self) -> bool:
        """Whether the server wants to know how the device is doing, and nothing waits to be sent."""
        limits = None if self._opened is None else self._opened.limits
        return limits is not None and limits.max_status_bytes >= MAX_STATUS_BYTES and self._outbox.empty()

    def send(self, message: Frame | Layer | DeviceStatus) -> None:
        """Hand a frame, a layer or a status over for sending, in order; returns at once."""
        self._outbox.put_nowait(message)

    def finish(self) -> None:
        """Say that no more frames follow; the server answers those it has and closes the stream."""
        self._outbox.put_nowait(None)

    def abort(self) -> None:
        """Give the stream up at once; `replies` raises LinkError."""
        self._aborted = True
        self._call.cancel()

    async def replies(self) -> AsyncIterator[Reply]:
        """Yield acks, answers and notices until the stream ends.

        Raises LinkError when it breaks, another SplitError when the server refuses to go on.
        """
        while (reply := await self._read()) is not None:
            yield reply

    async def write_frames(self) -> None:
        """Send what `send` hands over, until `finish` or until the stream is over."""
        with suppress(*_STREAM_IS_OVER):
            while (message := await self._outbox.get()) is not None:
                await self._call.write(_to_proto(message))
            await self._call.done_writing()

    async def _read(self) -> Reply | None:
        try:
            message = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise session_error(error.code(), error.details() or "") from error
        except asyncio.CancelledError:
            # grpc.aio raises this too when it is the server that has cancelled the stream.
            if self._aborted or not await _cancelled_here(self._call):
                raise LinkError("the session was cancelled") from None
            raise
        return _fit_to_print(reply_from_proto(message)) if isinstance(message, pb.DetectReply) else None


SessionOpener = Callable[[str, OpenSession], AbstractAsyncContextManager[Session]]


@asynccontextmanager
async def open_session(
    server: str,
    opening: OpenSession,
    timeout_s: float = 5.0,
    use_proxy: bool = False,
    credentials: Credentials | None = None,
) -> AsyncIterator[Session]:
    """Connect to "host:port" and open a session there; the stream is closed on leaving.

    use_proxy: through the proxy that the environment names. credentials: what both ends show, if not nothing; where the
    device was enrolled it goes by the name that it got there. Raises LinkError if the server cannot be reached or does
    not answer within `timeout_s`, and BundleMismatchError or another ProtocolError if it will never take this client.
    """
    tls = NO_TLS if credentials is None else credentials.of(server)
    if tls.device_id is not None:
        opening = replace(opening, device_id=tls.device_id)
    try:
        channel = await asyncio.wait_for(open_channel(server, use_proxy, tls), timeout_s)
    except asyncio.TimeoutError:
        raise LinkError(f"the name has not been resolved for {timeout_s:g} s") from None
    async with channel:
        call: _Call = SplitInferenceStub(channel).Detect(metadata=tls.metadata)  # type: ignore[no-untyped-call]
        session = Session(call, server)
        try:
            await asyncio.wait_for(session.open(opening), timeout_s)
        except asyncio.TimeoutError:
            raise LinkError(f"no answer for {timeout_s:g} s") from None
        except LinkError as error:
            if str(error) == CUT and tls.credentials is not None:  # TLS 1.3 refuses clients after the handshake
                raise LinkError(f"{error}; if that goes on, this device is not known there, or was revoked") from error
            raise
        writing = asyncio.create_task(session.write_frames())
        try:
            yield session
        finally:
            writing.cancel()
            call.cancel()


def _to_proto(message: Frame | Layer | DeviceStatus) -> pb.DetectRequest:
    return status_to_proto(message) if isinstance(message, DeviceStatus) else request_to_proto(message)


def _fit_to_print(reply: Reply) -> Reply:
    """Return a reply whose text may go to a terminal, a log or a file."""
    if isinstance(reply, FrameError):
        return replace(reply, message=printable(reply.message))
    if isinstance(reply, SessionOpened):
        name, server, session_id = map(printable, (reply.bundle_name, reply.server, reply.session_id))
        return replace(reply, bundle_name=name, server=server, session_id=session_id)
    return reply


def _check(opened: SessionOpened, opening: OpenSession) -> None:
    if opened.bundle_digest != opening.bundle_digest:
        raise BundleMismatchError(
            f"the server serves bundle {opened.bundle_name} {opened.bundle_digest}, this client has "
            f"{opening.bundle_digest}: give both the same --bundle"
        )
    if tuple(one.bundle_digest for one in opened.further) != opening.further_digests:
        raise BundleMismatchError(
            f"the server does not answer by the further bundles {', '.join(opening.further_digests)}: it is too old "
            "for that; leave out --further-bundle, or bring the server up to date"
        )
    if opened.group != opening.group:
        raise ProtocolError("the server does not know groups of devices: bring it up to date")


async def _cancelled_here(call: _Call) -> bool:
    return "Locally cancelled" in (await call.details() or "")
