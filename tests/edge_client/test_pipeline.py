"""The whole way of a frame through the client, against a scripted server on loopback."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from types import SimpleNamespace

import grpc
import numpy as np
import pytest

from edge_client import pipeline as pipeline_module
from edge_client.adaptation.policy import FixedPolicy, SchedulePolicy
from edge_client.capture.source import SourceImage
from edge_client.frames import EncodedFrame
from edge_client.output.sinks import CallbackSink
from edge_client.pipeline import Pipeline
from edge_client.pipeline_settings import PipelineSettings
from edge_client.transport.dialing import staggered
from splitnet.backoff import Backoff
from splitnet.errors import BundleMismatchError, ConfigError, ProtocolError, SourceError
from splitnet.messages import Draining, FrameError
from splitnet.operating_point import Codec, OperatingPoint
from tests.support.client_samples import dropped
from tests.support.fake_server import DIGEST, FakeService, ack_and_detect, serving

POINT = OperatingPoint(Codec.RANS, 4, 2)
EVERY_FRAME = PipelineSettings(server="127.0.0.1:1", live=False)


class FakeEncoder:
    """Makes a payload of the frame's first pixel."""

    manifest = SimpleNamespace(digest=DIGEST, device_digest=DIGEST)

    def encode(self, image, point, frame_id=0, references=None, layers=1):
        return EncodedFrame(point, bytes([int(image[0, 0, 0]) + 1]), 0.1, 0.2, 0.3)


class FakeSource:
    """So many pictures, as fast as they are taken; then an error, if one is given."""

    fps, unreadable = 10.0, 0

    def __init__(self, count: int, error: Exception | None = None, finite: bool = True, on_end=lambda: None) -> None:
        self.count, self.error, self.finite, self.on_end = count, error, finite, on_end
        self.ended = False

    def images(self, wait):
        try:
            for index in range(self.count):
                yield SourceImage(index / self.fps, np.full((48, 64, 3), index % 250, np.uint8))
            self.on_end()
            if self.error:
                raise self.error
        finally:
            self.ended = True


class EndlessSource(FakeSource):
    """A camera that shows pictures until it is stopped."""

    def __init__(self, interval_s: float = 0.0) -> None:
        super().__init__(0, finite=False)
        self.interval_s = interval_s

    def images(self, wait):
        while not wait(self.interval_s):
            yield SourceImage(0.0, np.zeros((48, 64, 3), np.uint8))


def pipeline_to(
    address: str | list[str], source: FakeSource, settings=EVERY_FRAME, policy=None, results=None
) -> Pipeline:
    taken = [] if results is None else results
    return Pipeline(
        source,
        FakeEncoder(),
        policy or FixedPolicy(POINT),
        [CallbackSink(taken.append)],
        replace(settings, server=address),
        backoff=Backoff(lambda: 1.0, first_s=0.001, ceiling_s=0.01),
    )


async def test_every_frame_of_a_file_is_answered_in_full():
    service, results = FakeService(), []
    async with serving(service) as address:
        statistics = await pipeline_to(address, FakeSource(20), results=results).run()
    assert [taken.frame.frame_id for taken in results] == list(range(1, 21))
    assert (statistics.captured, statistics.answered, dropped(statistics)) == (20, 20, 0)
    assert [frame.payload[0] for frame in service.frames] == list(range(1, 21))
    first = results[0]
    assert first.detections.boxes.tolist() == [[0, 0, 64, 48]]
    assert first.server.infer_ms == 3.0
    assert first.end_to_end_ms > 0


async def test_live_frames_overtake_one_another_and_nothing_is_unaccounted_for():
    service = FakeService()
    settings = PipelineSettings(server="127.0.0.1:1", max_frames=10)
    async with serving(service) as address:
        statistics = await pipeline_to(address, EndlessSource(), settings).run()
    assert statistics.answered == 10
    assert statistics.captured == statistics.answered + statistics.overtaken


async def test_of_so_many_frames_all_are_answered_and_no_other_is_counted():
    async with serving(FakeService()) as address:
        settings = replace(EVERY_FRAME, max_frames=10)
        statistics = await pipeline_to(address, FakeSource(20), settings).run()
    assert statistics.captured == statistics.answered == 10


async def test_never_more_frames_are_in_flight_than_allowed():
    service = FakeService(answer=lambda frame: [])
    pipeline = None
    seen = []

    def answer(frame):
        seen.append(len(service.frames))
        return [reply for sent in service.frames[-2:] for reply in ack_and_detect(sent)] if len(seen) % 2 == 0 else []

    service.answer = answer
    async with serving(service) as address:
        pipeline = pipeline_to(address, FakeSource(8))
        statistics = await pipeline.run()
    assert statistics.answered == 8  # the third frame came only after the answers to the first two


async def test_the_policy_is_asked_for_every_frame():
    points = [POINT, OperatingPoint(Codec.JPEG, 0, 30), OperatingPoint(Codec.ZSTD, 1, 0)]
    service = FakeService()
    async with serving(service) as address:
        statistics = await pipeline_to(address, FakeSource(6), policy=SchedulePolicy(points, 2)).run()
    assert [frame.operating_point for frame in service.frames] == [points[index // 2] for index in range(6)]
    assert {point: found.frames for point, found in statistics.points.items()} == dict.fromkeys(points, 2)


async def test_refused_frames_are_counted_by_kind_and_the_run_goes_on(caplog):
    def answer(frame):
        if frame.frame_id % 2:
            return [FrameError(frame.frame_id, 0, grpc.StatusCode.RESOURCE_EXHAUSTED, "too busy")]
        return ack_and_detect(frame)

    async with serving(FakeService(answer=answer)) as address:
        statistics = await pipeline_to(address, FakeSource(10)).run()
    assert statistics.answered == 5
    assert statistics.refused == {"resource_exhausted": 5}
    assert caplog.text.count("too busy") == 1


async def test_a_broken_link_loses_what_was_in_flight_and_the_rest_goes_on():
    service = FakeService()
    service.break_after = 4
    async with serving(service) as address:
        statistics = await pipeline_to(address, FakeSource(12)).run()
    assert statistics.sessions >= 3
    assert statistics.lost >= 2
    assert statistics.answered + statistics.lost == 12


async def test_a_server_that_comes_back_on_its_port_is_found_again(caplog):
    source, results = EndlessSource(interval_s=0.001), []
    first, second = FakeService(), FakeService()
    async with serving(first) as address:
        pipeline = pipeline_to(address, source, PipelineSettings(server="127.0.0.1:1"), results=results)
        running = asyncio.create_task(pipeline.run())
        await first.got_frame.wait()
    async with serving(second, port=int(address.rpartition(":")[2])):
        await second.got_frame.wait()
        pipeline.stop()
        statistics = await running
    assert statistics.sessions == 2
    assert second.frames[0].frame_id > first.frames[-1].frame_id
    assert caplog.text.count("no link to") == 1


async def test_a_server_with_another_bundle_ends_the_run():
    service = FakeService()
    service.opened = replace(service.opened, bundle_digest="cd" * 32)
    source = FakeSource(5)
    async with serving(service) as address:
        with pytest.raises(BundleMismatchError):
            await pipeline_to(address, source).run()
    assert service.frames == []


async def test_a_source_that_fails_ends_the_run_after_its_last_answer():
    service, results = FakeService(), []
    async with serving(service) as address:
        with pytest.raises(SourceError, match="gone"):
            await pipeline_to(address, FakeSource(3, SourceError("gone")), results=results).run()
    assert len(results) == 3


async def test_late_answers_are_counted_and_the_server_is_told_what_time_is_left():
    service, results = FakeService(), []
    now = iter(range(10_000))  # every look at the clock takes a second
    async with serving(service) as address:
        settings = replace(EVERY_FRAME, server=address, deadline_ms=10_000)
        sinks = [CallbackSink(results.append)]
        pipeline = Pipeline(
            FakeSource(4), FakeEncoder(), FixedPolicy(POINT), sinks, settings, clock=lambda: float(next(now))
        )
        statistics = await pipeline.run()
    assert all(1 <= frame.deadline_ms < 10_000 for frame in service.frames)
    assert statistics.late == sum(taken.late for taken in results)
    assert all(taken.late == (taken.end_to_end_ms > 10_000) for taken in results)


async def test_without_a_deadline_nothing_is_late():
    service = FakeService()
    async with serving(service) as address:
        statistics = await pipeline_to(address, FakeSource(3)).run()
    assert statistics.late == 0
    assert {frame.deadline_ms for frame in service.frames} == {0}


async def test_the_end_does_not_wait_for_ever_for_answers():
    service = FakeService(answer=lambda frame: [])
    async with serving(service) as address:
        statistics = await pipeline_to(address, FakeSource(2), replace(EVERY_FRAME, drain_timeout_s=0.01)).run()
    assert statistics.lost == 2


class SlowEncoder(FakeEncoder):
    """Takes longer than the end of a run waits for answers; from then on the end is patient."""

    def __init__(self, settings: PipelineSettings) -> None:
        self.settings = settings
        self.begun, self.done = threading.Event(), threading.Event()

    def encode(self, *arguments, **named):
        self.begun.set()
        self.done.wait()
        object.__setattr__(self.settings, "drain_timeout_s", 60.0)
        return super().encode(*arguments, **named)


async def test_the_end_waits_for_a_frame_that_takes_long_to_encode():
    async with serving(FakeService()) as address:
        settings = replace(EVERY_FRAME, server=address, drain_timeout_s=0.001)
        encoder = SlowEncoder(settings)
        source = FakeSource(1, on_end=encoder.begun.wait)
        pipeline = Pipeline(source, encoder, FixedPolicy(POINT), [], settings)
        asyncio.get_running_loop().call_later(0.05, encoder.done.set)
        statistics = await pipeline.run()
    assert (statistics.answered, statistics.lost) == (1, 0)


async def test_a_server_that_stops_answering_is_left_and_called_again():
    service = FakeService(answer=lambda frame: [])
    settings = PipelineSettings(server="127.0.0.1:1", answer_timeout_s=0.001)
    async with serving(service) as address:
        pipeline = pipeline_to(address, EndlessSource(0.001), settings)
        running = asyncio.create_task(pipeline.run())
        await service.called_again.wait()
        pipeline.stop()
        statistics = await running
    assert statistics.sessions >= 2
    assert statistics.lost >= 2
    assert statistics.answered == 0


async def test_a_draining_server_gets_no_new_frames_and_is_left():
    service = FakeService()
    service.answer = lambda frame: [Draining(100), *ack_and_detect(frame)]
    async with serving(service) as address:
        statistics = await pipeline_to(address, FakeSource(3), replace(EVERY_FRAME, max_in_flight=1)).run()
    assert statistics.answered == 3
    assert statistics.sessions == 3  # one frame each: none was sent after the notice


@pytest.fixture
def _one_at_a_time(monkeypatch):
    """Let no server win because another one is slow to open a session."""
    monkeypatch.setattr(pipeline_module, "staggered", lambda opener, *_: staggered(opener, None))


@pytest.mark.usefixtures("_one_at_a_time")
async def test_a_server_that_drains_is_left_for_the_next_one_which_is_kept():
    first, second = FakeService(), FakeService()
    first.answer = lambda frame: [Draining(1000), *ack_and_detect(frame)]
    settings = replace(EVERY_FRAME, max_in_flight=1)
    async with serving(first) as near, serving(second) as far:
        statistics = await pipeline_to([near, far], FakeSource(6), settings).run()
    assert [len(service.frames) for service in (first, second)] == [1, 5]
    assert (statistics.answered, statistics.lost) == (6, 0)
    assert (statistics.sessions, statistics.moves, statistics.server) == (2, 1, far)


@pytest.mark.usefixtures("_one_at_a_time")
async def test_a_server_that_dies_costs_no_more_than_what_was_in_flight():
    first, second = FakeService(), FakeService()
    first.break_after = 4
    async with serving(first) as near, serving(second) as far:
        statistics = await pipeline_to([near, far], FakeSource(12)).run()
    assert (statistics.moves, statistics.server) == (1, far)
    assert statistics.lost <= 2
    assert statistics.answered + statistics.lost == 12


@pytest.mark.usefixtures("_one_at_a_time")
async def test_a_server_that_goes_silent_is_left_for_the_next_one():
    silent, second = FakeService(answer=lambda frame: []), FakeService()
    settings = PipelineSettings(server="127.0.0.1:1", answer_timeout_s=0.05)
    async with serving(silent) as near, serving(second) as far:
        pipeline = pipeline_to([near, far], EndlessSource(0.001), settings)
        running = asyncio.create_task(pipeline.run())
        await second.got_frame.wait()
        pipeline.stop()
        statistics = await running
    assert statistics.moves >= 1
    assert statistics.lost >= len(silent.frames) > 0


@pytest.mark.usefixtures("_one_at_a_time")
@pytest.mark.parametrize("status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION])
async def test_a_server_that_refuses_is_passed_over(status, caplog):
    first, second = FakeService(), FakeService()
    first.refusal = status, "not now, or not this bundle"
    async with serving(first) as near, serving(second) as far:
        statistics = await pipeline_to([near, far], FakeSource(4)).run()
    assert (statistics.answered, statistics.sessions, statistics.moves) == (4, 1, 0)
    assert caplog.messages == [f"connected to {far} instead of {near}"]


def misfit(frame):
    """Answer with boxes that no frame can have."""
    answer = ack_and_detect(frame)[1]
    boxes = np.full_like(answer.detections.boxes, np.nan)
    return [replace(answer, detections=replace(answer.detections, boxes=boxes))]


@pytest.mark.usefixtures("_one_at_a_time")
async def test_a_server_that_answers_nonsense_is_left_for_the_next_one(caplog):
    first, second = FakeService(answer=misfit), FakeService()
    async with serving(first) as near, serving(second) as far:
        statistics = await pipeline_to([near, far], FakeSource(6)).run()
    assert (statistics.moves, statistics.server) == (1, far)
    assert statistics.answered + statistics.lost == 6
    assert statistics.lost <= 2
    assert caplog.messages[0].startswith(f"no link to {near}, trying again: detections hold numbers that are none")


async def test_a_single_server_that_answers_nonsense_ends_the_run():
    async with serving(FakeService(answer=misfit)) as address:
        with pytest.raises(ProtocolError, match="numbers that are none"):
            await pipeline_to(address, FakeSource(4)).run()


async def test_servers_that_all_have_another_bundle_end_the_run():
    services = [FakeService(), FakeService()]
    for service in services:
        service.opened = replace(service.opened, bundle_digest="cd" * 32)
    async with serving(services[0]) as near, serving(services[1]) as far:
        with pytest.raises(BundleMismatchError, match=f"^{near}: .*; {far}: "):
            await pipeline_to([near, far], FakeSource(2)).run()


async def test_stopping_closes_the_source_and_the_sinks():
    service, results = FakeService(), []
    async with serving(service) as address:
        pipeline = pipeline_to(address, EndlessSource(0.001), PipelineSettings(server="127.0.0.1:1"), results=results)
        running = asyncio.create_task(pipeline.run())
        await service.got_frame.wait()
        pipeline.stop()
        statistics = await running
    assert statistics.answered == len(results)
    assert statistics.captured == statistics.answered + dropped(statistics)


async def test_a_bug_in_the_encoder_is_not_swallowed():
    async with serving(FakeService()) as address:
        pipeline = pipeline_to(address, FakeSource(2))
        pipeline._encoding._encoder.encode = lambda *frame: 1 / 0
        with pytest.raises(ZeroDivisionError):
            await pipeline.run()


async def test_stray_answers_are_ignored():
    def answer(frame):
        stray = replace(frame, frame_id=frame.frame_id + 1000)
        twice = ack_and_detect(frame)
        return [*ack_and_detect(stray), *twice, *twice, FrameError(5000, 0, grpc.StatusCode.INTERNAL, "")]

    async with serving(FakeService(answer=answer)) as address:
        statistics = await pipeline_to(address, FakeSource(6)).run()
    assert (statistics.answered, statistics.refused.total()) == (6, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"server": "localhost"},
        {"server": ":5"},
        {"server": "host:0"},
        {"server": "host:99999"},
        {"server": ["host:50051", "host"]},
        {"deadline_ms": -1},
        {"max_frames": -1},
        {"max_in_flight": 0},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError):
        PipelineSettings(**{"server": "host:50051", **wrong})


def test_a_program_without_an_event_loop_can_run_it_too():
    pipeline = pipeline_to("127.0.0.1:1", FakeSource(1))
    pipeline.stop()
    assert pipeline.run_blocking().answered == 0
