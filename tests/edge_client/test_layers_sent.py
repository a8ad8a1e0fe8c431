"""Frames in layers through the client, against a scripted server on loopback."""

from __future__ import annotations

from dataclasses import replace

from edge_client.adaptation.policy import FixedPolicy
from edge_client.frames import EncodedFrame
from edge_client.output.sinks import CallbackSink
from edge_client.pipeline import Pipeline
from edge_client.pipeline_settings import PipelineSettings
from splitnet.messages import Ack, Frame, Layer, Reply, SessionLimits
from tests.edge_client.test_pipeline import POINT, FakeEncoder, FakeSource
from tests.support.fake_server import OPENED, FakeService, detections_of, serving

LAYERS = (b"one", b"two", b"three")


class LayeredEncoder(FakeEncoder):
    """Codes every frame in as many layers as it is asked for."""

    def encode(self, image, point, frame_id=0, references=None, layers=1):
        made = LAYERS if layers > 1 else ()
        return EncodedFrame(point, b"".join(made) or b"whole", 0.1, 0.2, 0.3, layers=made)


class LayeredPolicy(FixedPolicy):
    """Wants layers wherever the server takes them, and notes what it is told."""

    def choose(self, now, context):
        return replace(super().choose(now, context), layers=3 if context.max_layers >= 3 else 1)


class Script:
    """Acknowledges everything, and answers when the last layer has come, or the first if that is all it takes."""

    def __init__(self, needed: int = 3) -> None:
        self.needed = needed
        self.frames: dict[int, Frame] = {}

    def __call__(self, message: Frame | Layer) -> list[Reply]:
        layer = message.layer if isinstance(message, Layer) else 0
        if isinstance(message, Frame):
            self.frames[message.frame_id] = message
        ack = Ack(message.frame_id, len(message.payload), 5, 1, layer)
        frame = self.frames[message.frame_id]
        if layer + 1 < self.needed and frame.layers:
            return [ack]
        answer = replace(detections_of(frame), layers_used=layer + 1 if frame.layers else 0)
        return [answer, ack] if self.needed == 1 else [ack, answer]


async def run(service: FakeService, count: int = 2, **settings):
    results = []
    async with serving(service) as address:
        pipeline = Pipeline(
            FakeSource(count),
            LayeredEncoder(),
            LayeredPolicy(POINT),
            [CallbackSink(results.append)],
            PipelineSettings(server=address, live=False, max_in_flight=1, **{"in_layers": True, **settings}),
        )
        run = await pipeline.run()
    return results, run


def takes_layers(most: int) -> FakeService:
    opened = replace(OPENED, limits=SessionLimits(max_layers=most))
    return FakeService(opened, Script())


async def test_a_frame_and_its_layers_are_sent_in_order():
    service = takes_layers(8)
    results, run_statistics = await run(service, deadline_ms=60_000)
    first = service.frames[:3]
    assert [type(message) for message in first] == [Frame, Layer, Layer]
    assert [message.payload for message in first] == list(LAYERS)
    assert (first[0].layers, first[0].sent_time_us > 0) == (3, True)
    assert [result.layers_used for result in results] == [3, 3]
    assert (run_statistics.captured, run_statistics.lost) == (2, 0)


async def test_a_server_of_before_gets_whole_frames():
    for most in (0, 2):
        service = takes_layers(most)
        results, _ = await run(service)
        assert [(message.payload, message.layers) for message in service.frames] == [(b"whole", 0)] * 2
        assert [result.layers_used for result in results] == [0, 0]


async def test_frames_go_in_one_piece_unless_the_user_wants_layers():
    service = takes_layers(8)
    await run(service, in_layers=False)
    assert {message.payload for message in service.frames} == {b"whole"}


async def test_the_rest_of_a_frame_that_is_answered_already_is_not_sent():
    service = FakeService(replace(OPENED, limits=SessionLimits(max_layers=8)), Script(needed=1))
    results, _ = await run(service)
    assert [result.layers_used for result in results] == [1, 1]
    assert [getattr(message, "layer", 0) for message in service.frames].count(2) == 0
