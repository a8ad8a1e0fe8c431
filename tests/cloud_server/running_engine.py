"""An engine with a model without a network, and what it answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from cloud_server.engine import Engine
from cloud_server.job import Answer, Job
from splitnet.messages import Frame
from tests.support.fake_model import FakeModel, frame


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

    def _take(self, _: Job[bytes], answer: Answer) -> None:
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
    model: FakeModel,
    max_batch_size: int = 8,
    max_queue: int = 64,
    clock: Callable[[], float] | None = None,
    lanes: int = 1,
) -> AsyncIterator[Answers]:
    engine = Engine(max_batch_size, max_queue, **({"clock": clock} if clock else {}), lanes=lanes)
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
