"""The engine: answers every frame once, in batches, on one thread, whatever is wrong with some of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import pytest

from cloud_server.engine import Engine
from cloud_server.job import Answer, Job
from cloud_server.spare_time import Step
from splitnet.errors import DrainingError, ShedError
from splitnet.messages import Frame, FrameDetections, FrameError
from splitnet.operating_point import Mode
from tests.fake_model import BAD, BUG, IMAGE_POINT, POISON, SPLIT_POINT, FakeModel, frame


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Answers:
    """Collects what the engine answers, by frame."""

    def __init__(self, engine: Engine[bytes], model: FakeModel) -> None:
        self.engine = engine
        self.model = model
        self.of: dict[int, Answer] = {}
        self._changed = asyncio.Event()

    def submit(self, one: Frame, session: object = None, model: FakeModel | None = None) -> Job[bytes]:
        return self.engine.submit(model or self.model, one, self._take, session)

    def _take(self, answer: Answer) -> None:
        assert answer.frame_id not in self.of, "answered twice"
        self.of[answer.frame_id] = answer
        self._changed.set()

    async def wait_for(self, count: int) -> dict[int, Answer]:
        while len(self.of) < count:
            await asyncio.wait_for(self._changed.wait(), timeout=10)
            self._changed.clear()
        return self.of


@asynccontextmanager
async def running(
    model: FakeModel, max_batch_size: int = 8, max_queue: int = 64, clock: Callable[[], float] | None = None
) -> AsyncIterator[Answers]:
    engine = Engine(max_batch_size, max_queue, **({"clock": clock} if clock else {}))
    engine.start(asyncio.get_running_loop().call_soon_threadsafe)
    await asyncio.to_thread(engine.adopt, model)
    try:
        yield Answers(engine, model)
    finally:
        model.gate.set()
        engine.stop()


async def decoded(engine: Engine[bytes]) -> None:
    """Wait until all frames submitted so far are decoded: both decoders must be free to meet here."""
    meeting = threading.Barrier(3)
    for _ in range(2):
        engine._decoders.submit(meeting.wait, 10)
    await asyncio.to_thread(meeting.wait, 10)


async def busy(answers: Answers, model: FakeModel) -> None:
    """Occupy the engine with frame 0 until the gate opens."""
    model.gate.clear()
    answers.submit(frame(0))
    assert await asyncio.to_thread(model.entered.wait, 10)


async def queued(answers: Answers, model: FakeModel, *frames: Frame) -> dict[int, Answer]:
    """Let frames wait together behind frame 0, then compute; returns all answers."""
    await busy(answers, model)
    for one in frames:
        answers.submit(one)
    await decoded(answers.engine)
    model.gate.set()
    return await answers.wait_for(len(frames) + 1)


async def test_a_frame_is_answered_with_its_detections():
    async with running(FakeModel()) as answers:
        answers.submit(frame(7, b"four"))
        answer = (await answers.wait_for(1))[7]
    assert isinstance(answer, FrameDetections)
    assert (answer.frame_id, answer.capture_time_us) == (7, 1007)
    assert answer.detections.labels.tolist() == [4]


async def test_frames_that_arrive_during_a_batch_form_the_next_one():
    model = FakeModel()
    async with running(model) as answers:
        await queued(answers, model, *map(frame, range(1, 6)))
    assert [len(batch) for batch in model.batches] == [1, 5]


async def test_batches_are_no_larger_than_allowed():
    model = FakeModel()
    async with running(model, max_batch_size=2) as answers:
        await queued(answers, model, *map(frame, range(1, 6)))
    assert [len(batch) for batch in model.batches] == [1, 2, 2, 1]


async def test_features_and_pictures_never_share_a_batch():
    model = FakeModel()
    async with running(model) as answers:
        points = [SPLIT_POINT, IMAGE_POINT] * 2
        await queued(answers, model, *(frame(number, point=point) for number, point in enumerate(points, start=1)))
    assert model.kinds == [Mode.SPLIT, Mode.SPLIT, Mode.IMAGE]


async def test_only_the_engines_thread_computes():
    model = FakeModel()
    async with running(model) as answers:
        for number in range(20):
            answers.submit(frame(number), session=number)
        await answers.wait_for(20)
    assert model.threads == {"engine"}


async def test_an_undecodable_frame_is_refused_and_the_others_are_answered():
    async with running(FakeModel()) as answers:
        for number, payload in enumerate([b"good", BAD, b"good"]):
            answers.submit(frame(number, payload))
        got = await answers.wait_for(3)
    assert isinstance(got[1], FrameError) and got[1].status is grpc.StatusCode.INVALID_ARGUMENT
    assert got[1].message == "these bytes are not a bitstream"
    assert isinstance(got[0], FrameDetections) and isinstance(got[2], FrameDetections)


async def test_a_bug_in_decoding_is_told_as_internal_without_its_details(caplog):
    async with running(FakeModel()) as answers:
        answers.submit(frame(1, BUG))
        answer = (await answers.wait_for(1))[1]
    assert isinstance(answer, FrameError) and answer.status is grpc.StatusCode.INTERNAL
    assert "bug" not in answer.message
    assert "ZeroDivisionError: a bug of ours" in caplog.text


async def test_a_frame_that_fails_its_batch_harms_only_itself():
    model = FakeModel()
    async with running(model) as answers:
        got = await queued(answers, model, frame(1, b"a"), frame(2, POISON), frame(3, b"c"))
    assert isinstance(got[2], FrameError) and got[2].status is grpc.StatusCode.INTERNAL
    assert isinstance(got[1], FrameDetections) and isinstance(got[3], FrameDetections)


async def test_a_model_that_answers_too_few_frames_does_not_stop_the_engine():
    model = FakeModel()
    real, model.infer = model.infer, lambda kind, batch: []
    async with running(model) as answers:
        answers.submit(frame(1))
        assert isinstance((await answers.wait_for(1))[1], FrameError)
        model.infer = real
        answers.submit(frame(2))
        assert isinstance((await answers.wait_for(2))[2], FrameDetections)


async def test_a_full_queue_sheds():
    model = FakeModel()
    async with running(model, max_queue=2) as answers:
        await busy(answers, model)
        answers.submit(frame(1)), answers.submit(frame(2))
        with pytest.raises(ShedError):
            answers.submit(frame(3))
        model.gate.set()
        assert sorted(await answers.wait_for(3)) == [0, 1, 2]


async def test_a_frame_whose_deadline_passed_in_the_queue_is_not_computed():
    model, clock = FakeModel(), FakeClock()
    async with running(model, clock=clock) as answers:
        await busy(answers, model)
        answers.submit(frame(1, b"late", deadline_ms=200))
        answers.submit(frame(2, b"in time", deadline_ms=500))
        await decoded(answers.engine)
        clock.now += 0.3
        model.gate.set()
        got = await answers.wait_for(3)
    assert isinstance(got[1], FrameError) and got[1].status is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "200 ms" in got[1].message
    assert isinstance(got[2], FrameDetections)
    assert model.batches == [[b"x"], [b"in time"]]


async def test_a_cancelled_frame_is_neither_computed_nor_answered():
    model = FakeModel()
    async with running(model) as answers:
        await busy(answers, model)
        gone, stays = answers.submit(frame(1, b"gone")), answers.submit(frame(2, b"stays"))
        await decoded(answers.engine)
        answers.engine.cancel(gone)
        model.gate.set()
        got = await answers.wait_for(2)
    assert sorted(got) == [0, stays.frame.frame_id]
    assert model.batches == [[b"x"], [b"stays"]]


async def test_a_frame_cancelled_while_it_is_computed_is_not_answered():
    model = FakeModel()
    async with running(model) as answers:
        model.gate.clear()
        gone = answers.submit(frame(1))
        assert await asyncio.to_thread(model.entered.wait, 10)
        answers.engine.cancel(gone)
        model.gate.set()
        answers.submit(frame(2))
        assert sorted(await answers.wait_for(1)) == [2]


async def test_depth_counts_frames_until_their_batch_starts():
    model = FakeModel()
    async with running(model) as answers:
        await busy(answers, model)
        assert answers.engine.depth == 0
        answers.submit(frame(1))
        assert answers.engine.depth == 1
        model.gate.set()
        await answers.wait_for(2)
        assert answers.engine.depth == 0


async def test_timing_says_how_long_a_frame_waited_was_decoded_and_computed():
    model, clock = FakeModel(), FakeClock()
    async with running(model, clock=clock) as answers:
        await busy(answers, model)
        answers.submit(frame(1))
        await decoded(answers.engine)
        clock.now += 0.25
        model.gate.set()
        got = await answers.wait_for(2)
    assert isinstance(got[0], FrameDetections) and isinstance(got[1], FrameDetections)
    assert got[0].timing.infer_ms == pytest.approx(250) and got[0].timing.wait_ms == 0
    assert got[1].timing.wait_ms == pytest.approx(250) and got[1].timing.decode_ms == 0


async def test_a_model_is_warmed_up_at_every_size_and_on_the_engines_thread():
    model = FakeModel()
    async with running(model, max_batch_size=2):
        assert set(model.warm_ups) == {(mode, size) for mode in model.modes for size in (1, 2)}
        assert model.threads == {"engine"}


async def test_where_only_the_first_batch_is_slow_fewer_sizes_are_warmed_up():
    model = FakeModel()
    model.each_size_differs = False
    async with running(model, max_batch_size=5):
        assert model.warm_ups == [(mode, size) for mode in model.modes for size in (1, 1, 2, 4, 5)]


async def test_a_model_that_does_not_warm_up_is_refused_and_the_others_go_on():
    def fail() -> None:
        raise RuntimeError("no memory on the device")

    broken = FakeModel("cd" * 32)
    broken.prepare = fail
    async with running(FakeModel()) as answers:
        with pytest.raises(RuntimeError, match="no memory on the device"):
            await asyncio.to_thread(answers.engine.adopt, broken)
        answers.submit(frame(1))
        assert isinstance((await answers.wait_for(1))[1], FrameDetections)


async def test_frames_flow_while_another_model_warms_up():
    slow, held, entered = FakeModel("cd" * 32), threading.Event(), threading.Event()
    plain = slow.infer

    def infer(kind, batch):
        entered.set()
        assert held.wait(10)
        return plain(kind, batch)

    slow.infer = infer
    async with running(FakeModel(), max_batch_size=1) as answers:
        adopting = asyncio.create_task(asyncio.to_thread(answers.engine.adopt, slow))
        assert await asyncio.to_thread(entered.wait, 10)
        answers.submit(frame(1))
        held.set()
        await answers.wait_for(1)
        await adopting


async def test_a_model_waits_for_its_warm_up_until_no_frame_waits():
    model, other, clock = FakeModel(), FakeModel("cd" * 32), FakeClock()
    other.infer = lambda kind, batch: model.infer(kind, [b"warm-up"])
    async with running(model, max_batch_size=1, clock=clock) as answers:
        await busy(answers, model)
        adopting = await asking(answers.engine, other)
        answers.submit(frame(1)), answers.submit(frame(2))
        await decoded(answers.engine)
        model.gate.set()
        await answers.wait_for(3)
        await adopting
    assert model.batches[:3] == [[b"x"]] * 3 and model.batches[3] == [b"warm-up"]


async def test_larger_batches_that_would_make_frames_late_are_not_warmed_up():
    model, other, clock = FakeModel(), FakeModel("cd" * 32), FakeClock()
    async with running(model, max_batch_size=8, clock=clock) as answers:
        answers.submit(frame(1, deadline_ms=900))
        await answers.wait_for(1)
        for size in (1, 2, 4, 8) * 50:
            answers.engine._observe((model.digest, Mode.SPLIT), size, 0.1 * size)
        await asyncio.to_thread(answers.engine.adopt, other)
    assert {size for _, size in other.warm_ups} == {1, 2, 3}  # 0.3 s, and half of 0.9 - 0.1 s can be spared


async def test_a_step_is_due_as_soon_as_the_last_frame_turns_out_to_be_undecodable():
    model, other = FakeModel(), FakeModel("cd" * 32)
    held, entered = threading.Event(), threading.Event()

    def decode(one: Frame) -> bytes:
        entered.set()
        assert held.wait(10)
        return FakeModel.decode(model, one)

    model.decode = decode
    async with running(model, max_batch_size=1, clock=FakeClock()) as answers:  # its patience would last for ever
        answers.submit(frame(1, BAD))
        assert await asyncio.to_thread(entered.wait, 10)
        adopting = await asking(answers.engine, other)
        held.set()
        await asyncio.wait_for(adopting, 10)
    assert other.warm_ups


async def asking(engine: Engine[bytes], model: FakeModel) -> asyncio.Task[None]:
    """Let a model be adopted; returns when the engine has been asked for its first step."""
    asked, add = threading.Event(), engine._agenda.add

    def add_and_tell(step: Step) -> None:
        add(step)
        asked.set()

    engine._agenda.add = add_and_tell
    adopting = asyncio.create_task(asyncio.to_thread(engine.adopt, model))
    assert await asyncio.to_thread(asked.wait, 10)
    return adopting


async def test_frames_of_two_models_never_share_a_batch():
    one, other = FakeModel(), FakeModel("cd" * 32)
    async with running(one) as answers:
        await asyncio.to_thread(answers.engine.adopt, other)
        await busy(answers, one)
        for number, model in enumerate([one, other, one, other], start=1):
            answers.submit(frame(number, model.digest[:2].encode()), model=model)
        await decoded(answers.engine)
        one.gate.set()
        await answers.wait_for(5)
    assert one.batches == [[b"x"], [b"ab", b"ab"]] and other.batches == [[b"cd", b"cd"]]


async def test_a_frame_that_gives_way_is_told_so_once():
    model = FakeModel()
    async with running(model, max_queue=2) as answers:
        await busy(answers, model)
        answers.submit(frame(1), "flood"), answers.submit(frame(2), "flood"), answers.submit(frame(3), "calm")
        got = await answers.wait_for(1)
        assert got[2].status is grpc.StatusCode.RESOURCE_EXHAUSTED and "gave way" in got[2].message
        model.gate.set()
        got = await answers.wait_for(4)
    assert isinstance(got[1], FrameDetections) and isinstance(got[3], FrameDetections)


async def test_a_frame_that_would_be_late_is_told_so_and_not_computed():
    model, clock = FakeModel(), FakeClock()
    async with running(model, clock=clock) as answers:
        await busy(answers, model)
        for _ in range(100):
            answers.engine._observe((model.digest, Mode.SPLIT), 1, 500.0)
        answers.submit(frame(1, deadline_ms=2000))
        answers.submit(frame(2))  # without it the engine would try
        await decoded(answers.engine)
        model.gate.set()
        got = await answers.wait_for(3)
    assert got[1].status is grpc.StatusCode.RESOURCE_EXHAUSTED and "would be late" in got[1].message
    assert model.batches == [[b"x"], [b"x"]]


async def test_the_sizes_of_batches_are_counted():
    model = FakeModel()
    async with running(model) as answers:
        await queued(answers, model, *map(frame, range(1, 4)))
        assert answers.engine.batch_sizes == {1: 1, 3: 1}


async def test_a_model_cannot_be_adopted_by_an_engine_that_stops():
    engine: Engine[bytes] = Engine(1, 1)
    engine.start(asyncio.get_running_loop().call_soon_threadsafe)
    engine.stop()
    with pytest.raises(DrainingError):
        engine.adopt(FakeModel())


async def test_stopping_drops_what_waits_and_ends_the_thread():
    model = FakeModel()
    engine: Engine[bytes] = Engine(1, 8)
    engine.start(asyncio.get_running_loop().call_soon_threadsafe)
    answers = Answers(engine, model)
    await busy(answers, model)
    answers.submit(frame(1))
    stopping = asyncio.create_task(asyncio.to_thread(engine.stop))
    await asyncio.to_thread(_until_stopping, engine)
    model.gate.set()
    await stopping
    assert not engine._thread.is_alive()
    assert sorted(answers.of) == [0]


def _until_stopping(engine: Engine[bytes]) -> None:
    with engine._changed:
        assert engine._changed.wait_for(lambda: engine._stopping, timeout=10)
