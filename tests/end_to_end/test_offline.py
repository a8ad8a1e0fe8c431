"""The camera goes on while the link does not: the pipeline with a device that can detect by itself."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from edge_client import pipeline as pipeline_module
from edge_client import uplink
from edge_client.adaptation.load import CpuSample
from edge_client.adaptation.policy import Decision, FixedPolicy, LatencyBreakdown, Policy
from edge_client.frames import EncodedFrame, FrameResult
from edge_client.output.sinks import CallbackSink, SinkThread
from edge_client.output.trace import TraceFile
from edge_client.pipeline import Pipeline
from edge_client.pipeline_settings import PATIENCE_S, PipelineSettings
from edge_client.transport.in_flight import InFlight
from splitnet.backoff import Backoff
from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.operating_point import LOCAL, SKIP, Mode
from tests.edge_client.test_pipeline import POINT, EndlessSource, FakeEncoder, FakeSource
from tests.support.client_samples import dropped
from tests.support.fake_server import FakeService, serving
from tests.support.listening_service import until

NOBODY = "127.0.0.1:1"
CAMERA = PipelineSettings(server=NOBODY)
EVERY_FRAME = PipelineSettings(server=NOBODY, live=False)


class WorksOffline(Policy):
    """Sends what can be sent; else detects on the device, or skips."""

    works_offline = True

    def __init__(self, otherwise=LOCAL, predicted: LatencyBreakdown | None = None) -> None:
        self.otherwise = otherwise
        self.predicted = predicted
        self.samples: list[CpuSample] = []

    def choose(self, now, context):
        return Decision(POINT if context.can_send else self.otherwise, "script", self.predicted)

    def sampled(self, now, sample):
        self.samples.append(sample)


class FakeLocal:
    """Finds nothing, at once."""

    def detect(self, image):
        return EncodedFrame(LOCAL, b"", 0.1, 0.2, 0.0), Detections.empty()


class Results:
    """Takes results in the sinks' thread; a test awaits one of a kind."""

    def __init__(self) -> None:
        self.taken: list[FrameResult] = []
        self._loop = asyncio.get_running_loop()
        self._new = asyncio.Event()

    def __call__(self, result: FrameResult) -> None:
        self.taken.append(result)
        self._loop.call_soon_threadsafe(self._new.set)

    def modes(self) -> list[Mode]:
        return [result.encoded.point.mode for result in self.taken]

    async def until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._new.clear()
            await self._new.wait()


def pipeline_to(address: str, source, settings=EVERY_FRAME, policy=None, results=None, **parts) -> Pipeline:
    return Pipeline(
        source,
        FakeEncoder(),
        policy or WorksOffline(),
        parts.pop("sinks", [] if results is None else [CallbackSink(results)]),
        replace(settings, server=address),
        local=parts.pop("local", FakeLocal()),
        backoff=Backoff(lambda: 1.0, first_s=0.001, ceiling_s=0.01),
        **parts,
    )


async def test_a_server_that_was_never_there_leaves_the_device_to_itself():
    results = Results()
    statistics = await pipeline_to(NOBODY, FakeSource(6), results=results).run()
    assert (statistics.captured, statistics.local, dropped(statistics), statistics.sessions) == (6, 6, 0, 0)
    assert [result.frame.frame_id for result in results.taken] == [1, 2, 3, 4, 5, 6]
    assert results.taken[0].server.infer_ms == 0.0


async def test_no_server_is_needed_to_detect_on_the_device():
    statistics = await pipeline_to("", FakeSource(4), policy=FixedPolicy(LOCAL)).run()
    assert (statistics.captured, statistics.local) == (4, 4)


async def test_without_a_server_the_policy_must_be_able_to_do_without():
    with pytest.raises(ConfigError, match="--mode local"):
        pipeline_to("", FakeSource(1), policy=FixedPolicy(POINT))


async def test_the_camera_goes_on_when_the_link_dies_and_the_server_serves_again_when_it_is_back():
    results = Results()
    first, second = FakeService(), FakeService()
    async with serving(first) as address:
        pipeline = pipeline_to(address, EndlessSource(0.001), CAMERA, results=results)
        running = asyncio.create_task(pipeline.run())
        await results.until(lambda: Mode.SPLIT in results.modes())
    before = len(results.taken)
    await results.until(lambda: results.modes()[before:].count(Mode.LOCAL) > 3)
    async with serving(second, port=int(address.rpartition(":")[2])):
        before = len(results.taken)
        await results.until(lambda: Mode.SPLIT in results.modes()[before:])
        pipeline.stop()
        statistics = await running
    assert statistics.sessions == 2
    assert statistics.captured == statistics.answered + statistics.local + dropped(statistics)


async def test_a_server_that_comes_back_with_another_bundle_is_asked_until_it_has_ours_again(caplog):
    results, other = Results(), FakeService()
    other.opened = replace(other.opened, bundle_digest="cd" * 32)
    async with serving(FakeService()) as address:
        pipeline = pipeline_to(address, EndlessSource(0.001), CAMERA, results=results)
        running = asyncio.create_task(pipeline.run())
        await results.until(lambda: Mode.SPLIT in results.modes())
    port = int(address.rpartition(":")[2])
    async with serving(other, port):
        await until(lambda: other.sessions > 2)
    assert not running.done()
    async with serving(FakeService(), port):
        before = len(results.taken)
        await results.until(lambda: Mode.SPLIT in results.modes()[before:])
        pipeline.stop()
        await running
    asking = f"no link to {address}, this device detects alone and goes on asking: "
    assert sum(message.startswith(f"{asking}the server serves bundle") for message in caplog.messages) == 1


async def test_a_silent_link_keeps_its_frames_while_the_device_looks_at_the_next_ones():
    results = Results()
    service = FakeService(answer=lambda frame: [])
    async with serving(service) as address:
        settings = replace(CAMERA, deadline_ms=2.0, drain_timeout_s=0.01)
        pipeline = pipeline_to(address, EndlessSource(0.001), settings, results=results)
        running = asyncio.create_task(pipeline.run())
        await results.until(lambda: Mode.LOCAL in results.modes() and len(service.frames) == 2)
        pipeline.stop()
        statistics = await running
    assert statistics.lost == 2
    assert statistics.captured == statistics.local + dropped(statistics)


async def test_places_on_the_link_are_not_taken_by_what_stays_on_the_device():
    class Alternating(WorksOffline):
        works_offline = False  # so that the first frame waits for the link

        def choose(self, now, context):
            return Decision((POINT, LOCAL, SKIP)[context.frame_id % 3])

    async with serving(FakeService()) as address:
        settings = replace(EVERY_FRAME, max_in_flight=1)
        statistics = await pipeline_to(address, FakeSource(9), settings, Alternating()).run()
    assert (statistics.answered, statistics.local, statistics.skipped) == (3, 3, 3)


async def test_a_policy_may_skip_what_cannot_be_sent():
    statistics = await pipeline_to(NOBODY, FakeSource(3), policy=WorksOffline(SKIP)).run()
    assert (statistics.skipped, dropped(statistics), statistics.lost) == (3, 3, 0)


async def test_a_link_that_takes_longer_than_expected_is_left(monkeypatch):
    monkeypatch.setattr(uplink, "SILENCE_S", 0.001)
    service = FakeService(answer=lambda frame: [])
    async with serving(service) as address:
        policy = WorksOffline(predicted=LatencyBreakdown(encode_ms=0.1))
        pipeline = pipeline_to(address, EndlessSource(0.001), CAMERA, policy)
        running = asyncio.create_task(pipeline.run())
        await service.called_again.wait()
        pipeline.stop()
        assert (await running).lost >= 2


async def test_a_server_that_has_acknowledged_a_frame_is_given_its_time(monkeypatch):
    extended = []
    monkeypatch.setattr(InFlight, "extend", lambda self, *given: extended.append(given))
    settings = replace(EVERY_FRAME, answer_timeout_s=7.0)
    async with serving(FakeService()) as address:
        await pipeline_to(address, FakeSource(2), settings, FixedPolicy(POINT)).run()
    assert extended == [(1, 7.0), (2, 7.0)]


async def test_every_captured_frame_has_its_line_in_the_trace(tmp_path):
    path = tmp_path / "run.jsonl"
    service = FakeService()
    service.break_after = 3
    async with serving(service) as address:
        statistics = await pipeline_to(address, FakeSource(12), sinks=SinkThread([], [TraceFile(path, 0.0, 0.0)])).run()
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(record["frame_id"] for record in records) == list(range(1, 13))
    outcomes = Counter(record["outcome"] for record in records)
    assert outcomes["answered"] == statistics.answered
    assert outcomes["local"] == statistics.local
    assert outcomes["lost"] == statistics.lost
    assert statistics.captured == statistics.answered + statistics.local + dropped(statistics) == 12


async def test_the_processor_is_sampled_meanwhile(monkeypatch):
    monkeypatch.setattr(pipeline_module, "SAMPLE_INTERVAL_S", 0.0)
    sampled = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Sampler:
        def sample(self):
            loop.call_soon_threadsafe(sampled.set)
            return CpuSample(busy=0.5, own=0.25)

    policy = WorksOffline()
    pipeline = pipeline_to(NOBODY, EndlessSource(0.001), CAMERA, policy, sampler=Sampler())
    running = asyncio.create_task(pipeline.run())
    await sampled.wait()
    while not policy.samples:
        await asyncio.sleep(0)
    pipeline.stop()
    await running
    assert policy.samples[0] == CpuSample(busy=0.5, own=0.25)


async def test_a_bug_in_the_own_detector_is_not_swallowed():
    class Broken:
        def detect(self, image):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        settings = replace(CAMERA, drain_timeout_s=0.01)
        await pipeline_to(NOBODY, EndlessSource(0.001), settings, local=Broken()).run()


def test_patience_is_half_of_the_deadline():
    assert replace(CAMERA, deadline_ms=200.0).patience_s == 0.1
    assert CAMERA.patience_s == PATIENCE_S
