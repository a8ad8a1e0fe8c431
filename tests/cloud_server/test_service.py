"""Sessions over a real gRPC loopback, with a model without a network."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import grpc
import pytest

from cloud_server import layered_frames
from cloud_server import service as service_module
from cloud_server import session as session_module
from cloud_server.held_bytes import HeldBytes
from cloud_server.service import ServiceLimits
from protos import split_inference_pb2 as pb
from splitnet.device_status import DeviceStatus, FrameCounts
from splitnet.messages import (
    MAX_MESSAGE_BYTES,
    MAX_PAYLOAD_BYTES,
    MAX_UNANSWERED,
    Ack,
    FrameDetections,
    FrameError,
    Layer,
    OpenSession,
    SessionOpened,
)
from splitnet.wire.device_status import status_to_proto
from splitnet.wire.sessions import request_to_proto
from tests.support.fake_model import BAD, IMAGE_POINT, frame
from tests.support.listening_service import (
    DIGEST,
    IDENTITY,
    OPENING,
    OTHER_DIGEST,
    SECOND_DIGEST,
    Stream,
    close_gate,
    until,
)

GROUP = ("address", "ipv4:127.0.0.1")  # of all clients here


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
    assert DIGEST in message and OTHER_DIGEST in message


async def test_another_protocol_version_is_refused_with_both_versions(daemon):
    async with daemon.client() as client:
        stream = Stream(client.Detect())
        await stream.send(OpenSession("camera-1", DIGEST, protocol_version=9))
        status, message = await stream.refusal()
    assert status is grpc.StatusCode.FAILED_PRECONDITION
    assert "version 9" in message and "this side 1" in message


async def test_a_stream_that_says_nothing_is_ended(daemon, monkeypatch):
    monkeypatch.setattr(daemon.service, "_limits", service_module.ServiceLimits(open_timeout_s=0.0))
    async with daemon.client() as client:
        status, message = await Stream(client.Detect()).refusal()
    assert status is grpc.StatusCode.DEADLINE_EXCEEDED and "opened within 0 s" in message
    assert not daemon.service._handlers


async def test_a_device_id_that_is_no_text_ends_only_its_own_stream(daemon):
    async with daemon.session() as neighbour:
        async with grpc.aio.insecure_channel(daemon.address) as channel:
            call = channel.stream_stream("/slimsplit.v1.SplitInference/Detect")()
            await call.write(request_to_proto(OPENING).SerializeToString().replace(b"camera-1", b"camera-\xff"))
            assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert isinstance(await neighbour.answer(frame(1)), FrameDetections)


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


async def test_all_streams_of_a_device_take_one_share(daemon):
    """The queue holds three: a device with two streams fills it, and gives way to another one."""
    async with daemon.session() as first, daemon.session() as second, daemon.client() as client:
        other = Stream(client.Detect())
        await other.send(replace(OPENING, device_id="camera-2"))
        assert isinstance(await other.next(), SessionOpened)
        await close_gate(daemon, first)
        for number, stream in ((1, first), (1, second), (2, second)):
            await stream.send(frame(number))
            assert isinstance(await stream.next(), Ack)
        await other.send(frame(1, b"other"))
        assert isinstance(await other.next(), Ack)
        shed = await second.next()
        assert isinstance(shed, FrameError) and "gave way to that of a session with fewer" in shed.message
        daemon.model.gate.set()
        assert isinstance(await other.next(), FrameDetections)


async def test_a_session_with_too_many_unanswered_frames_is_not_read(daemon, monkeypatch):
    monkeypatch.setattr(session_module, "MAX_UNANSWERED", 2)
    async with daemon.session() as stream:
        await close_gate(daemon, stream)
        await stream.send(frame(1))
        assert isinstance(await stream.next(), Ack)
        await stream.send(frame(2))  # read, but not taken before an answer has left
        daemon.model.gate.set()
        kinds = [type(await stream.next()) for _ in range(4)]
    assert kinds[0] is FrameDetections and kinds.count(FrameDetections) == 3


async def test_sessions_are_not_read_while_their_address_holds_as_much_as_it_may(daemon):
    daemon.service._held = HeldBytes(most=5)
    async with daemon.session() as first, daemon.session() as second:
        await close_gate(daemon, first)
        await first.send(frame(1, b"12345"))
        assert isinstance(await first.next(), Ack)
        await second.send(frame(2))
        late = asyncio.ensure_future(second.next())
        await first.send(frame(3))
        await asyncio.sleep(0.05)
        assert daemon.service._held.of(GROUP) >= 5
        daemon.model.gate.set()
        assert isinstance(await late, Ack)
    await until(lambda: daemon.service._held.of(GROUP) == 0)


async def test_a_session_that_says_nothing_for_too_long_ends(daemon):
    daemon.service._limits = ServiceLimits(idle_timeout_s=0.05)
    async with daemon.session() as stream:
        status, message = await stream.refusal()
    assert (status, message) == (grpc.StatusCode.DEADLINE_EXCEEDED, "no frame for 0.05 s: open the session again")


async def test_a_stream_that_does_not_open_its_session_ends(daemon):
    daemon.service._limits = ServiceLimits(open_timeout_s=0.05)
    async with daemon.client() as client:
        status, message = await Stream(client.Detect()).refusal()
    assert (status, message) == (grpc.StatusCode.DEADLINE_EXCEEDED, "a session must be opened within 0.05 s")


async def test_acks_of_layers_have_places_that_are_free_again(daemon, monkeypatch):
    monkeypatch.setattr(session_module, "MAX_UNSENT_ACKS", 2)
    async with daemon.session() as stream:
        for number in range(10):
            await stream.send(Layer(number, 1, b"of no frame"))
            ack = await stream.next()
            assert isinstance(ack, Ack) and (ack.frame_id, ack.layer) == (number, 1)


async def test_a_session_gets_the_bundle_that_it_names(daemon):
    async with daemon.client() as client:
        stream = Stream(client.Detect())
        await stream.send(OpenSession("camera-2", SECOND_DIGEST))
        assert await stream.next() == replace(IDENTITY, bundle_digest=SECOND_DIGEST)
        assert isinstance(await stream.answer(frame(1)), FrameDetections)
        stream.call.cancel()
    assert daemon.model.batches == []


async def test_a_client_without_a_bundle_gets_the_default_one_for_images_only(daemon):
    async with daemon.client() as client:
        stream = Stream(client.Detect())
        await stream.send(OpenSession("camera-2", ""))
        assert await stream.next() == IDENTITY
        assert isinstance(await stream.answer(frame(1, point=IMAGE_POINT)), FrameDetections)
        answer = await stream.answer(frame(2))
        assert isinstance(answer, FrameError) and answer.status is grpc.StatusCode.INVALID_ARGUMENT
        assert "without a bundle's digest only images are taken" in answer.message
        stream.call.cancel()


async def test_a_session_outlives_the_retirement_of_its_bundle(daemon):
    async with daemon.session() as stream:
        daemon.service._registry.models.pop(0)
        assert isinstance(await stream.answer(frame(1)), FrameDetections)
        async with daemon.client() as client:
            late = Stream(client.Detect())
            await late.send(OPENING)
            assert (await late.refusal())[0] is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_status_is_neither_acknowledged_nor_answered(daemon):
    async with daemon.session() as stream:
        await stream.send(status_to_proto(DeviceStatus(board="Raspberry Pi 5", run_s=1.0)))
        assert isinstance(await stream.answer(frame(1)), FrameDetections)
    (device,) = daemon.fleet.devices
    assert device.status == DeviceStatus(board="Raspberry Pi 5", run_s=1.0)
    assert device.seen == FrameCounts(captured=1, answered=1)


async def test_statuses_without_end_take_no_room_of_frames_and_a_bad_one_ends_nothing(daemon):
    async with daemon.session() as stream:
        bad = pb.DetectRequest(status=pb.DeviceStatus(preview=b"no image"))
        for _ in range(3 * MAX_UNANSWERED):
            await stream.send(bad)
        assert isinstance(await stream.answer(frame(1)), FrameDetections)
    assert daemon.fleet.tally.bad_statuses == 3 * MAX_UNANSWERED
    assert daemon.fleet.tally.statuses == 0


async def test_a_session_has_a_name_in_the_log_of_both_ends(daemon, caplog):
    caplog.set_level("INFO")
    async with daemon.session() as stream:
        (device,) = daemon.fleet.devices
        assert device.sessions == {stream.session_id}
        await stream.send(frame(1))
        await stream.next()  # so that the session has run: it is logged then
    opened = next(one for one in caplog.records if one.getMessage() == "session opened")
    assert vars(opened)["session"] == stream.session_id


async def test_a_refused_session_is_remembered_with_its_reason(daemon):
    async with daemon.client() as client:
        stream = Stream(client.Detect())
        await stream.send(OpenSession("camera-1", OTHER_DIGEST))
        await stream.refusal()
    (refusal,) = daemon.fleet.refusals
    assert OTHER_DIGEST in refusal.text
    assert daemon.fleet.tally.refusals == {"bundle": 1}


async def test_a_frame_in_layers_is_answered_with_all_of_them(daemon):
    async with daemon.session() as stream:
        await stream.send(replace(frame(7, b"one"), layers=3))
        await stream.send(Layer(7, 1, b"two"))
        await stream.send(Layer(7, 2, b"three"))
        acks = [await stream.next() for _ in range(3)]
        assert [(ack.frame_id, ack.layer, ack.payload_bytes) for ack in acks] == [(7, 0, 3), (7, 1, 3), (7, 2, 5)]
        answer = await stream.next()
    assert (answer.detections.labels.tolist(), answer.layers_used) == ([11], 3)


async def test_a_frame_whose_layers_do_not_come_is_answered_with_what_there_is(daemon, monkeypatch):
    monkeypatch.setattr(layered_frames, "MARGIN_S", 59.99)
    async with daemon.session() as stream:
        await stream.send(replace(frame(7, b"one"), layers=3, deadline_ms=60_000))
        assert isinstance(await stream.next(), Ack)
        answer = await stream.next()
        assert (answer.detections.labels.tolist(), answer.layers_used) == ([3], 1)
        await stream.send(Layer(7, 1, b"too late"))
        assert isinstance(await stream.next(), Ack)
        assert isinstance(await stream.answer(frame(8)), FrameDetections)


async def test_a_layer_that_cannot_be_spoils_nothing_else(daemon):
    async with daemon.session() as stream:
        await stream.send(replace(frame(7, b"one"), layers=2))
        await stream.send(Layer(7, 900, b"two"))
        await stream.send(Layer(7, 1, b""))
        await stream.send(Layer(7, 1, b"two"))
        assert [(await stream.next()).layer for _ in range(4)] == [0, 900, 1, 1]
        assert (await stream.next()).layers_used == 2


async def test_a_client_that_has_sent_its_last_layer_gets_its_answer(daemon):
    async with daemon.session() as stream:
        await stream.send(replace(frame(7, b"one"), layers=3, deadline_ms=60_000))
        await stream.call.done_writing()
        assert isinstance(await stream.next(), Ack)
        assert (await stream.next()).layers_used == 1
        assert await stream.next() is None


@pytest.mark.parametrize("layers", [1, 9])
async def test_no_other_number_of_layers_is_taken(daemon, layers):
    async with daemon.session() as stream:
        answer = await stream.answer(replace(frame(1), layers=layers))
        assert isinstance(answer, FrameError) and "2 to 8 layers" in answer.message


async def test_each_camera_of_a_device_is_a_line_of_its_own(daemon):
    async with daemon.client() as client:
        streams = [Stream(client.Detect()) for _ in range(2)]
        for stream, camera in zip(streams, ("front", "yard"), strict=True):
            await stream.send(OpenSession("board", DIGEST, camera=camera))
            assert isinstance(await stream.next(), SessionOpened)
        assert [device.name for device in daemon.fleet.devices] == ["board/front", "board/yard"]
