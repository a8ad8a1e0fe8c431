"""Sessions over a real gRPC loopback, with a model without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import grpc
import pytest

from cloud_server import service as service_module
from cloud_server.engine import Engine
from cloud_server.service import SplitInferenceService
from protos import split_inference_pb2 as pb
from protos.split_inference_pb2_grpc import SplitInferenceStub, add_SplitInferenceServicer_to_server
from splitnet.messages import (
    MAX_MESSAGE_BYTES,
    MAX_PAYLOAD_BYTES,
    Ack,
    Draining,
    Frame,
    FrameDetections,
    FrameError,
    InferRequest,
    OpenSession,
    Reply,
    SessionOpened,
)
from splitnet.wire import (
    detections_from_proto,
    infer_request_to_proto,
    reply_from_proto,
    request_to_proto,
)
from tests.fake_model import BAD, FakeModel, FakeRegistry, frame

DIGEST, OTHER_DIGEST = "ab" * 32, "cd" * 32
IDENTITY = SessionOpened("coco-nano", DIGEST, "slimsplit test")
SECOND_DIGEST = "ef" * 32
OPENING = OpenSession("camera-1", DIGEST)


@dataclass
class Daemon:
    """A service that listens."""

    model: FakeModel
    engine: Engine[bytes]
    service: SplitInferenceService
    address: str

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

    async def send(self, request: OpenSession | Frame | pb.DetectRequest) -> None:
        await self.call.write(request if isinstance(request, pb.DetectRequest) else request_to_proto(request))

    async def next(self) -> Reply | None:
        message = await asyncio.wait_for(self.call.read(), timeout=10)
        return None if message is grpc.aio.EOF else reply_from_proto(message)

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


@pytest.fixture
async def daemon() -> AsyncIterator[Daemon]:
    model = FakeModel()
    engine: Engine[bytes] = Engine(max_batch_size=8, max_queue=3)
    engine.start(asyncio.get_running_loop().call_soon_threadsafe)
    await asyncio.to_thread(engine.adopt, model)
    service = SplitInferenceService(engine, FakeRegistry(model, FakeModel(SECOND_DIGEST)), "slimsplit test")
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)])
    add_SplitInferenceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield Daemon(model, engine, service, f"127.0.0.1:{port}")
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


async def test_a_frame_is_acknowledged_and_answered(daemon):
    async with daemon.session() as stream:
        await stream.send(frame(7, b"seven b"))
        ack, answer = await stream.next(), await stream.next()
    assert isinstance(ack, Ack) and (ack.frame_id, ack.payload_bytes, ack.queue_depth) == (7, 7, 1)
    assert isinstance(answer, FrameDetections) and answer.capture_time_us == 1007
    assert answer.detections.labels.tolist() == [7]


async def test_the_ack_does_not_wait_for_the_engine(daemon):
    async with daemon.session() as stream:
        await close_gate(daemon, stream)
        for number in (1, 2):
            await stream.send(frame(number))
            ack = await stream.next()
            assert isinstance(ack, Ack) and (ack.frame_id, ack.queue_depth) == (number, number)
        daemon.model.gate.set()
        assert sorted([(await stream.next()).frame_id for _ in range(3)]) == [0, 1, 2]


async def test_server_times_of_acks_do_not_run_backwards(daemon):
    async with daemon.session() as stream:
        times = []
        for number in range(3):
            await stream.send(frame(number))
            times.append((await stream.next()).server_receive_time_us)
            await stream.next()
    assert times == sorted(times)


async def test_frames_of_two_sessions_share_a_batch(daemon):
    async with daemon.session() as first, daemon.session() as second:
        await close_gate(daemon, first)
        for number, stream in enumerate((first, second), start=1):
            await stream.send(frame(number))
            assert isinstance(await stream.next(), Ack)
        await until(lambda: len(daemon.engine._batcher._ready) == 2)
        daemon.model.gate.set()
        assert [(await first.next()).frame_id for _ in range(2)] == [0, 1]
        assert (await second.next()).frame_id == 2
    assert [len(batch) for batch in daemon.model.batches] == [1, 2]


async def test_closing_the_sending_side_ends_the_session_after_the_last_answer(daemon):
    async with daemon.session() as stream:
        await close_gate(daemon, stream)
        await stream.call.done_writing()
        daemon.model.gate.set()
        assert isinstance(await stream.next(), FrameDetections)
        assert await stream.next() is None
        assert await stream.call.code() is grpc.StatusCode.OK


async def test_a_client_that_hangs_up_before_opening_is_no_error(daemon):
    async with daemon.client() as client:
        call = client.Detect()
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (frame(1, BAD), "not a bitstream"),
        (frame(1, bytes(MAX_PAYLOAD_BYTES + 1)), "payload has 1 to 1048576 bytes, not 1048577"),
        (frame(1, b""), "payload has 1 to"),
        (replace(frame(1), frame_width=0), "not 0x480"),
        (replace(frame(1), frame_height=2**31), "pixels a side"),
    ],
    ids=["undecodable", "oversized", "empty", "no pixels", "huge"],
)
async def test_a_bad_frame_is_refused_and_the_session_goes_on(daemon, bad, complaint):
    async with daemon.session() as stream:
        answer = await stream.answer(bad)
        assert isinstance(answer, FrameError) and answer.status is grpc.StatusCode.INVALID_ARGUMENT
        assert complaint in answer.message
        assert isinstance(await stream.answer(frame(2)), FrameDetections)


async def test_a_frame_without_any_field_is_refused_and_the_session_goes_on(daemon):
    async with daemon.session() as stream:
        await stream.send(pb.DetectRequest(frame=pb.Frame()))
        assert isinstance(await stream.next(), Ack)
        assert isinstance(await stream.next(), FrameError)
        assert isinstance(await stream.answer(frame(2)), FrameDetections)


async def test_a_message_beyond_grpcs_limit_ends_only_its_own_session(daemon):
    async with daemon.session() as sinner, daemon.session() as neighbour:
        await sinner.send(frame(1, bytes(MAX_MESSAGE_BYTES + 1)))
        status, _ = await sinner.refusal()
        assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert isinstance(await neighbour.answer(frame(1)), FrameDetections)


async def test_a_full_queue_sheds_with_an_answer_that_says_so(daemon):
    async with daemon.session() as stream:
        await close_gate(daemon, stream)
        for number in (1, 2, 3):
            await stream.send(frame(number))
            assert isinstance(await stream.next(), Ack)
        answer = await stream.answer(frame(4))
        assert isinstance(answer, FrameError) and answer.status is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "3 frames wait already" in answer.message
        daemon.model.gate.set()
        assert sorted([(await stream.next()).frame_id for _ in range(4)]) == [0, 1, 2, 3]


async def test_another_bundle_is_refused_with_both_digests(daemon):
    async with daemon.client() as client:
        stream = Stream(client.Detect())
        await stream.send(OpenSession("camera-1", OTHER_DIGEST))
        status, message = await stream.refusal()
    assert status is grpc.StatusCode.FAILED_PRECONDITION
    assert DIGEST[:12] in message and OTHER_DIGEST[:12] in message


async def test_another_protocol_version_is_refused_with_both_versions(daemon):
    async with daemon.client() as client:
        stream = Stream(client.Detect())
        await stream.send(OpenSession("camera-1", DIGEST, protocol_version=9))
        status, message = await stream.refusal()
    assert status is grpc.StatusCode.FAILED_PRECONDITION
    assert "version 9" in message and "this side 1" in message


@pytest.mark.parametrize("first", [frame(1), pb.DetectRequest()], ids=["a frame", "nothing"])
async def test_a_session_begins_with_its_opening(daemon, first):
    async with daemon.client() as client:
        stream = Stream(client.Detect())
        await stream.send(first)
        status, _ = await stream.refusal()
    assert status is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_session_is_opened_only_once(daemon):
    async with daemon.session() as stream:
        await stream.send(OPENING)
        assert (await stream.refusal())[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_client_that_dies_harms_nobody_and_its_frames_are_forgotten(daemon):
    async with daemon.session() as neighbour:
        async with daemon.session() as victim:
            await close_gate(daemon, victim)
            for number in (1, 2):
                await victim.send(frame(number, b"orphan"))
                assert isinstance(await victim.next(), Ack)
            assert daemon.engine.depth == 2
        # The server learns of the death in its own time; the neighbour's frame gets room all the same.
        await neighbour.send(frame(1))
        assert isinstance(await neighbour.next(), Ack)
        await until(lambda: daemon.engine.depth == 1)
        daemon.model.gate.set()
        assert isinstance(await neighbour.next(), FrameDetections)
    assert [b"orphan"] not in daemon.model.batches and [b"x"] in daemon.model.batches


async def test_a_session_with_too_many_unanswered_frames_is_not_read(daemon, monkeypatch):
    monkeypatch.setattr(service_module, "MAX_UNANSWERED", 2)
    async with daemon.session() as stream:
        await close_gate(daemon, stream)
        await stream.send(frame(1))
        assert isinstance(await stream.next(), Ack)
        await stream.send(frame(2))  # read, but not taken before an answer has left
        daemon.model.gate.set()
        kinds = [type(await stream.next()) for _ in range(4)]
    assert kinds[0] is FrameDetections and kinds.count(FrameDetections) == 3


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
    assert [replies.get_nowait(), replies.get_nowait()] == [IDENTITY, Draining(2000)]
    serving.cancel()


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


async def test_one_frame_is_answered_without_a_session(daemon):
    async with daemon.client() as client:
        reply = await client.Infer(infer_request_to_proto(InferRequest(DIGEST, frame(3, b"12345"))))
    answer = detections_from_proto(reply.detections)
    assert (answer.frame_id, answer.detections.labels.tolist()) == (3, [5])


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (InferRequest(DIGEST, frame(1, BAD)), grpc.StatusCode.INVALID_ARGUMENT),
        (InferRequest(DIGEST, frame(1, b"")), grpc.StatusCode.INVALID_ARGUMENT),
        (InferRequest(OTHER_DIGEST, frame(1)), grpc.StatusCode.FAILED_PRECONDITION),
        (InferRequest(DIGEST, frame(1), protocol_version=9), grpc.StatusCode.FAILED_PRECONDITION),
    ],
    ids=["undecodable", "empty", "other bundle", "other version"],
)
async def test_what_is_wrong_with_a_single_call_is_its_status(daemon, request_, status):
    async with daemon.client() as client:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.Infer(infer_request_to_proto(request_))
    assert caught.value.code() is status


async def test_a_single_call_given_up_by_its_client_is_forgotten(daemon):
    async with daemon.session() as stream, daemon.client() as client:
        await close_gate(daemon, stream)
        call = client.Infer(infer_request_to_proto(InferRequest(DIGEST, frame(1, b"orphan"))))
        await until(lambda: daemon.engine.depth == 1)
        call.cancel()
        await until(lambda: daemon.engine.depth == 0)
        daemon.model.gate.set()
        assert isinstance(await stream.next(), FrameDetections)
    assert daemon.model.batches == [[b"x"]]


async def test_a_session_gets_the_bundle_that_it_names(daemon):
    async with daemon.client() as client:
        stream = Stream(client.Detect())
        await stream.send(OpenSession("camera-2", SECOND_DIGEST))
        assert await stream.next() == SessionOpened("coco-nano", SECOND_DIGEST, "slimsplit test")
        assert isinstance(await stream.answer(frame(1)), FrameDetections)
        stream.call.cancel()
    assert daemon.model.batches == []


async def test_a_session_outlives_the_retirement_of_its_bundle(daemon):
    async with daemon.session() as stream:
        daemon.service._registry.models.pop(0)
        assert isinstance(await stream.answer(frame(1)), FrameDetections)
        async with daemon.client() as client:
            late = Stream(client.Detect())
            await late.send(OPENING)
            assert (await late.refusal())[0] is grpc.StatusCode.FAILED_PRECONDITION


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
