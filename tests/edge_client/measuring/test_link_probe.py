"""Measuring the way to a server."""

from __future__ import annotations

import grpc
import pytest

from edge_client.frames import EncodedFrame
from edge_client.measuring.link_probe import MOST_BPS, capacity, measure_link
from splitnet.errors import LinkError, ProtocolError
from splitnet.messages import Ack, Draining, FrameError, OpenSession
from splitnet.operating_point import Codec, Mode, OperatingPoint
from tests.support.fake_server import DIGEST, FakeService, detections_of, serving

OPENING = OpenSession("test", DIGEST)
SMALL = EncodedFrame(OperatingPoint(Codec.RANS, 1, 0), b"x" * 500, 1.0, 2.0, 0.5)
PICTURE = EncodedFrame(OperatingPoint(Codec.JPEG, 0, 75), b"x" * 20_000, 1.0, 0.0, 2.0)


async def test_round_trip_capacity_and_the_servers_times_are_measured():
    now = iter(range(10_000))  # every look at the clock takes a millisecond

    def answer(frame):
        received_us = 1000 + 20_000 * frame.frame_id  # 20 ms apart: 20 KB in 20 ms are 8 Mbps
        return [Ack(frame.frame_id, len(frame.payload), received_us, 1), detections_of(frame)]

    service = FakeService(answer=answer)
    async with serving(service) as address:
        found = await measure_link(
            address, OPENING, [SMALL, SMALL, PICTURE], [PICTURE] * 4, (640, 480), lambda: next(now) / 1000
        )
    assert found.rtt_ms == pytest.approx(1.0)
    assert found.capacity_bps == pytest.approx(8e6)
    assert found.server_ms == {Mode.SPLIT: 6.0, Mode.IMAGE: 6.0}
    assert [frame.frame_id for frame in service.frames] == list(range(1, 8))
    assert (service.frames[0].frame_width, service.frames[0].frame_height) == (640, 480)


def test_capacity_is_that_of_the_frames_after_the_first():
    acks = [Ack(1, 90_000, 1_000_000, 1), Ack(3, 10_000, 1_200_000, 1), Ack(2, 10_000, 1_100_000, 1)]
    assert capacity(acks) == pytest.approx(8 * 20_000 / 0.2)


@pytest.mark.parametrize("acks", [[Ack(1, 10_000, 5, 1)], [Ack(1, 10_000, 5, 1), Ack(2, 10_000, 5, 1)]])
def test_a_link_too_fast_to_be_measured_has_no_limit(acks):
    assert capacity(acks) == MOST_BPS


async def test_a_refused_frame_is_said():
    refused = FrameError(1, 0, grpc.StatusCode.INVALID_ARGUMENT, "no pictures here")
    async with serving(FakeService(answer=lambda frame: [refused])) as address:
        with pytest.raises(ProtocolError, match="no pictures here"):
            await measure_link(address, OPENING, [SMALL], [SMALL], (64, 48))


async def test_a_server_that_goes_away_is_said():
    service = FakeService(answer=lambda frame: [Draining(10)])
    service.break_after = 1
    async with serving(service) as address:
        with pytest.raises(LinkError):
            await measure_link(address, OPENING, [SMALL], [SMALL], (64, 48))
