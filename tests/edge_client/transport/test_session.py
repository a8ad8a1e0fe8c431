"""One session against a scripted server."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import grpc
import pytest

from edge_client.transport.channel import CHANNEL_OPTIONS
from edge_client.transport.session import open_session
from splitnet.errors import BundleMismatchError, LinkError, ProtocolError, ProtocolVersionError
from splitnet.messages import Ack, Draining, Frame, FrameDetections, FrameError, OpenSession, SessionOpened
from splitnet.operating_point import Codec, OperatingPoint
from tests.support.fake_server import DIGEST, OPENED, FakeService, ack_and_detect, serving

OPENING = OpenSession("test device", DIGEST)


def frame(frame_id: int) -> Frame:
    return Frame(frame_id, frame_id * 1000, OperatingPoint(Codec.RANS, 4, 2), b"payload", 640, 480, 200)


async def replies_to(service: FakeService, frames: list[Frame]) -> list:
    async with serving(service) as address, open_session(address, OPENING) as session:
        for each in frames:
            session.send(each)
        session.finish()
        return [reply async for reply in session.replies()]


async def test_every_frame_arrives_whole_and_is_acknowledged_and_answered():
    service = FakeService()
    replies = await replies_to(service, [frame(1), frame(2)])
    assert service.frames == [frame(1), frame(2)]
    assert [type(reply) for reply in replies] == [Ack, FrameDetections, Ack, FrameDetections]
    assert replies[3].capture_time_us == 2000
    assert replies[3].detections.boxes.tolist() == [[0, 0, 640, 480]]


async def test_errors_of_frames_and_notices_do_not_end_the_session():
    def answer(sent: Frame) -> list:
        if sent.frame_id == 1:
            return [FrameError(1, 0, grpc.StatusCode.RESOURCE_EXHAUSTED, "too busy"), Draining(500)]
        return ack_and_detect(sent)

    replies = await replies_to(FakeService(answer=answer), [frame(1), frame(2)])
    assert replies[0].status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert replies[1] == Draining(500)
    assert isinstance(replies[-1], FrameDetections)


async def test_a_server_that_is_away_is_a_link_error():
    async with serving(FakeService()) as address:
        pass
    with pytest.raises(LinkError, match=r"^nothing listens there \(connection refused\)$"):
        async with open_session(address, OPENING):
            pass


async def test_a_server_that_does_not_answer_the_opening_is_a_link_error():
    async with serving(FakeService(opened=None)) as address:
        with pytest.raises(LinkError, match="no answer for"):
            async with open_session(address, OPENING, timeout_s=0.05):
                pass


async def test_another_bundle_is_fatal_and_both_digests_are_named():
    service = FakeService(opened=SessionOpened("other", "cd" * 32, "fake"))
    async with serving(service) as address:
        with pytest.raises(BundleMismatchError, match=f"{'cd' * 32}.*{DIGEST}.*same --bundle"):
            async with open_session(address, OPENING):
                pass


async def test_another_protocol_version_is_fatal():
    service = FakeService(opened=SessionOpened("fake", DIGEST, "fake", protocol_version=9))
    async with serving(service) as address:
        with pytest.raises(ProtocolVersionError, match=r"version 9.*update the older"):
            async with open_session(address, OPENING):
                pass


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (grpc.StatusCode.FAILED_PRECONDITION, BundleMismatchError),
        (grpc.StatusCode.INVALID_ARGUMENT, ProtocolError),
        (grpc.StatusCode.UNIMPLEMENTED, ProtocolError),
        (grpc.StatusCode.UNAVAILABLE, LinkError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, LinkError),
        (grpc.StatusCode.CANCELLED, LinkError),
    ],
)
async def test_a_refusal_is_fatal_only_if_it_will_not_pass(status, error):
    service = FakeService()
    service.refusal = status, "said the test"
    async with serving(service) as address:
        with pytest.raises(error):
            async with open_session(address, OPENING):
                pass


async def test_a_first_reply_that_is_not_an_opening_is_fatal():
    service = FakeService(opened=Draining(1))  # type: ignore[arg-type]
    async with serving(service) as address:
        with pytest.raises(ProtocolError, match="did not open"):
            async with open_session(address, OPENING):
                pass


async def test_a_stream_torn_down_is_a_link_error_after_the_answers_before_it():
    service = FakeService()
    service.break_after = 2
    received = []
    with pytest.raises(LinkError, match="broken by the test"):
        async with serving(service) as address, open_session(address, OPENING) as session:
            session.send(frame(1))
            session.send(frame(2))
            async for reply in session.replies():
                received.append(reply)
    assert len(received) == 2


async def test_an_aborted_session_is_a_link_error():
    service = FakeService(answer=lambda sent: [])
    async with serving(service) as address, open_session(address, OPENING) as session:
        session.send(frame(1))
        reading = asyncio.create_task(_drain(session))
        await service.got_frame.wait()
        session.abort()
        with pytest.raises(LinkError):
            await reading


async def _drain(session) -> None:
    async for _ in session.replies():
        pass


async def test_cancelling_the_reader_is_not_mistaken_for_a_broken_link():
    service = FakeService()
    async with serving(service) as address, open_session(address, OPENING) as session:
        reading = asyncio.create_task(_drain(session))
        session.send(frame(1))
        await service.got_frame.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading


async def test_sending_into_a_broken_stream_raises_nothing():
    service = FakeService()
    service.break_after = 1
    async with serving(service) as address, open_session(address, OPENING) as session:
        session.send(frame(1))
        with pytest.raises(LinkError):
            await _drain(session)
        session.send(frame(2))
        session.finish()


def test_grpc_does_not_compress_and_limits_messages():
    options = dict(CHANNEL_OPTIONS)
    assert options["grpc.max_receive_message_length"] <= 4 << 20
    assert "grpc.default_compression_algorithm" not in options
    assert options["grpc.keepalive_time_ms"] > 0


async def test_text_of_the_server_is_fit_to_be_printed():
    service = FakeService(opened=replace(OPENED, bundle_name="\x1b[2Jfake" + "x" * 1000))
    service.answer = lambda sent: [FrameError(1, 0, grpc.StatusCode.INTERNAL, "boo\n\x07" + "y" * 1000)]
    async with serving(service) as address, open_session(address, OPENING) as session:
        session.send(frame(1))
        refused = await anext(session.replies())
    assert refused.message.startswith("boo \\x07yyy")
    assert len(refused.message) == 300
    service.opened = replace(service.opened, bundle_digest="cd" * 32)
    async with serving(service) as address:
        with pytest.raises(BundleMismatchError) as raised:
            async with open_session(address, OPENING):
                pass
    assert str(raised.value).startswith("the server serves bundle \\x1b[2Jfakexxx")
    assert str(raised.value).isprintable()
