"""A service that drains: who is told, who is refused, when nobody is left."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from protos import split_inference_pb2 as pb
from splitnet.messages import Ack, Draining, FrameDetections, InferRequest, Reply, SessionOpened
from splitnet.wire.sessions import infer_request_to_proto, reply_from_proto, request_to_proto
from tests.support.fake_model import frame
from tests.support.listening_service import DIGEST, OPENING, Stream, close_gate, until


async def test_draining_tells_open_sessions_and_answers_what_was_on_its_way(daemon):
    async with daemon.session() as stream:
        await close_gate(daemon, stream)
        daemon.service.drain(grace_s=5)
        assert await stream.next() == Draining(5000)
        await stream.send(frame(1))
        assert isinstance(await stream.next(), Ack)
        daemon.model.gate.set()
        answers = [await stream.next() for _ in range(2)]
        assert [(type(answer), answer.frame_id) for answer in answers] == [(FrameDetections, 0), (FrameDetections, 1)]
        await stream.call.done_writing()
        assert await stream.next() is None
    await asyncio.wait_for(daemon.service.wait_idle(), timeout=10)


async def test_a_drain_just_as_a_session_opens_is_told_to_it(daemon):
    asked: list[object] = []

    class Context:
        """A stream whose server starts to drain while the opening is being written."""

        def peer(self) -> str:
            return "test"

        async def read(self) -> object:
            if asked:
                await asyncio.Event().wait()
            asked.append(True)
            return request_to_proto(OPENING)

        async def write(self, message: pb.DetectReply) -> None:
            replies.put_nowait(reply_from_proto(message))
            if replies.qsize() == 1:
                daemon.service.drain(2.0)

    replies: asyncio.Queue[Reply] = asyncio.Queue()
    serving = asyncio.create_task(daemon.service.Detect(iter(()), Context()))
    await until(lambda: replies.qsize() == 2 or serving.done())
    opened, draining = replies.get_nowait(), replies.get_nowait()
    assert isinstance(opened, SessionOpened) and draining == Draining(2000)
    serving.cancel()


async def test_what_is_left_at_the_end_becomes_unavailable(daemon):
    async with daemon.session() as stream, daemon.client() as client:
        await close_gate(daemon, stream)
        unopened = Stream(client.Detect())
        call = client.Infer(infer_request_to_proto(InferRequest(DIGEST, frame(1))))
        await until(lambda: daemon.engine.depth == 1 and len(daemon.service._handlers) == 3)
        daemon.service.end()
        for stream_ in (stream, unopened):
            status, message = await stream_.refusal()
            assert status is grpc.StatusCode.UNAVAILABLE and "use another one" in message
        assert await call.code() is grpc.StatusCode.UNAVAILABLE
    await asyncio.wait_for(daemon.service.wait_idle(), timeout=10)
    assert daemon.engine.depth == 0


async def test_draining_refuses_new_sessions_and_calls(daemon):
    daemon.service.drain(grace_s=5)
    async with daemon.client() as client:
        stream = Stream(client.Detect())
        await stream.send(OPENING)
        assert (await stream.refusal())[0] is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.Infer(infer_request_to_proto(InferRequest(DIGEST, frame(1))))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_the_service_is_idle_only_without_sessions(daemon):
    idle = asyncio.ensure_future(daemon.service.wait_idle())
    await idle
    async with daemon.session():
        waiting = asyncio.ensure_future(daemon.service.wait_idle())
        await asyncio.sleep(0)
        assert not waiting.done()
    await asyncio.wait_for(waiting, timeout=10)


async def test_queued_frames_of_all_sessions_are_answered_while_draining(daemon):
    async with daemon.session() as first, daemon.session() as second:
        await close_gate(daemon, first)
        for number, stream in ((1, first), (2, second)):
            await stream.send(frame(number))
            assert isinstance(await stream.next(), Ack)
        daemon.service.drain(grace_s=5)
        for stream in (first, second):
            assert await stream.next() == Draining(5000)
            await stream.call.done_writing()
        daemon.model.gate.set()
        assert [(await first.next()).frame_id for _ in range(2)] == [0, 1]
        assert (await second.next()).frame_id == 2
        assert await first.next() is None and await second.next() is None
    await asyncio.wait_for(daemon.service.wait_idle(), timeout=10)
