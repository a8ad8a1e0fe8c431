"""A service that listens on a loopback port, with a model without a network, and a client's side of its sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import grpc
import pytest

from cloud_server.engine import Engine
from cloud_server.fleet.fleet import Fleet
from cloud_server.service import SplitInferenceService
from protos import split_inference_pb2 as pb
from protos.split_inference_pb2_grpc import SplitInferenceStub, add_SplitInferenceServicer_to_server
from splitnet.messages import (
    MAX_MESSAGE_BYTES,
    Ack,
    Frame,
    FrameDetections,
    FrameError,
    OpenSession,
    Reply,
    SessionLimits,
    SessionOpened,
)
from splitnet.wire.sessions import reply_from_proto, request_to_proto
from tests.support.fake_group_model import OTHER_GROUP_DIGEST, FakeGroupModel
from tests.support.fake_model import FakeModel, FakeRegistry, frame

DIGEST, OTHER_DIGEST = "ab" * 32, "cd" * 32
IDENTITY = SessionOpened("coco-nano", DIGEST, "slimsplit test", bundle=FakeModel.description, limits=SessionLimits())
SECOND_DIGEST = "ef" * 32
OPENING = OpenSession("camera-1", DIGEST)


@dataclass
class Daemon:
    """A service that listens."""

    model: FakeModel
    engine: Engine[bytes]
    service: SplitInferenceService
    fleet: Fleet
    address: str
    group: FakeGroupModel

    @asynccontextmanager
    async def client(self) -> AsyncIterator[SplitInferenceStub]:
        options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self.address, options=options) as channel:
            yield SplitInferenceStub(channel)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Stream]:
        async with self.client() as client:
            stream = Stream(client.Detect())
            await stream.send(OPENING)
            assert await stream.next() == IDENTITY
            yield stream
            stream.call.cancel()


class Stream:
    """A client's side of a session."""

    def __init__(self, call: grpc.aio.StreamStreamCall) -> None:
        self.call = call
        self.session_id = ""

    async def send(self, request: OpenSession | Frame | pb.DetectRequest) -> None:
        await self.call.write(request if isinstance(request, pb.DetectRequest) else request_to_proto(request))

    async def next(self) -> Reply | None:
        message = await asyncio.wait_for(self.call.read(), timeout=10)
        reply = None if message is grpc.aio.EOF else reply_from_proto(message)
        if isinstance(reply, SessionOpened):
            self.session_id = reply.session_id
            return replace(reply, session_id="")  # drawn by lot
        return reply

    async def answer(self, one: Frame) -> FrameDetections | FrameError:
        """Send a frame and return what follows its ack."""
        await self.send(one)
        ack = await self.next()
        assert isinstance(ack, Ack) and ack.frame_id == one.frame_id
        answer = await self.next()
        assert isinstance(answer, FrameDetections | FrameError) and answer.frame_id == one.frame_id
        return answer

    async def refusal(self) -> tuple[grpc.StatusCode, str]:
        """Return status and message of a stream that the server has ended."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.next()
        return caught.value.code(), caught.value.details() or ""


@asynccontextmanager
async def listening() -> AsyncIterator[Daemon]:
    """Yield a service on a port of its own, with an engine of two models."""
    model = FakeModel()
    engine: Engine[bytes] = Engine(max_batch_size=8, max_queue=3)
    engine.start(asyncio.get_running_loop().call_soon_threadsafe)
    await asyncio.to_thread(engine.adopt, model)
    fleet = Fleet()
    group = FakeGroupModel()
    registry = FakeRegistry(model, FakeModel(SECOND_DIGEST), group, FakeGroupModel(OTHER_GROUP_DIGEST))
    service = SplitInferenceService(engine, registry, "slimsplit test", fleet)
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)])
    add_SplitInferenceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield Daemon(model, engine, service, fleet, f"127.0.0.1:{port}", group)
    model.gate.set()
    await server.stop(None)
    engine.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop run until a condition holds."""

    async def poll() -> None:
        while not condition():
            await asyncio.sleep(0)

    await asyncio.wait_for(poll(), timeout=10)


async def close_gate(daemon: Daemon, stream: Stream, frame_id: int = 0) -> None:
    """Send a frame that occupies the engine until the gate opens."""
    daemon.model.entered.clear()
    daemon.model.gate.clear()
    await stream.send(frame(frame_id))
    assert isinstance(await stream.next(), Ack)
    assert await asyncio.to_thread(daemon.model.entered.wait, 10)
