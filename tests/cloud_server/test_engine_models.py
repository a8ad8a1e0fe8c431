"""An engine of several models: they warm up while frames flow, and never share a batch."""

from __future__ import annotations

import asyncio
import threading

import pytest

from cloud_server.engine import Engine
from cloud_server.scheduling.idle_work import IdleTask
from splitnet.errors import DrainingError
from splitnet.messages import Frame, FrameDetections
from splitnet.operating_point import Mode
from tests.cloud_server.running_engine import FakeClock, busy, decoded, running
from tests.support.fake_model import BAD, FakeModel, frame


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


async def test_an_idle_task_is_due_as_soon_as_the_last_frame_turns_out_to_be_undecodable():
    model, other = FakeModel(), FakeModel("cd" * 32)
    held, entered = threading.Event(), threading.Event()

    def decode(one: Frame, references: object = None) -> bytes:
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
    """Let a model be adopted; returns when the engine has been asked for its first task."""
    asked, add = threading.Event(), engine._work.add

    def add_and_tell(task: IdleTask) -> None:
        add(task)
        asked.set()

    engine._work.add = add_and_tell
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


async def test_a_model_cannot_be_adopted_by_an_engine_that_stops():
    engine: Engine[bytes] = Engine(1, 1)
    engine.start(asyncio.get_running_loop().call_soon_threadsafe)
    engine.stop()
    with pytest.raises(DrainingError):
        engine.adopt(FakeModel())
