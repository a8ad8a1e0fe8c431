"""Memory that goes back to the system, and payloads that nobody holds longer than they are needed."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from cloud_server.held_bytes import HeldBytes
from cloud_server.memory import LOOK_INTERVAL_S, SLACK_BYTES, ReturnedMemory, keep_giving_back
from tests.cloud_server.running_engine import busy, decoded, running
from tests.support.fake_model import FakeModel, frame
from tests.support.listening_service import until


class Process:
    """Holds what a test says; trimming takes it back to 500 MB."""

    def __init__(self) -> None:
        self.resident = 700_000_000
        self.trims = 0

    def trim(self) -> None:
        self.trims += 1
        self.resident = 500_000_000


@pytest.fixture
def process():
    process = Process()
    yield process
    gc.unfreeze()


@pytest.fixture
def memory(process):
    memory = ReturnedMemory(lambda: process.resident, process.trim)
    memory.settle()
    return memory


def test_what_the_start_leaves_is_given_back_at_once(memory, process):
    assert process.trims == 1 and gc.get_freeze_count() > 0


def test_free_memory_is_given_back_once_the_process_has_grown(memory, process):
    process.resident += SLACK_BYTES - 1
    assert not memory.look()
    process.resident += 1
    assert memory.look() and process.resident == 500_000_000
    assert not memory.look() and process.trims == 2


async def test_it_is_looked_at_every_now_and_then(memory, process):
    naps = []

    async def sleep(seconds):
        naps.append(seconds)
        process.resident += SLACK_BYTES
        if len(naps) == 3:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await keep_giving_back(memory, sleep)
    assert naps == [LOOK_INTERVAL_S] * 3 and process.trims == 3


async def test_an_answered_frame_is_held_by_nobody():
    """Its memory is free at once, not when Python looks for cycles the next time."""
    gc.disable()
    try:
        async with running(FakeModel()) as answers:
            job = weakref.ref(answers.submit(frame(1)))
            await answers.wait_for(1)
            await decoded(answers.engine)
            await until(lambda: job() is None)  # the engine's thread is on its way out of the batch
    finally:
        gc.enable()


async def test_a_cancelled_frame_is_held_by_nobody():
    gc.disable()
    try:
        model = FakeModel()
        async with running(model) as answers:
            await busy(answers, model)
            job = answers.submit(frame(1))
            await decoded(answers.engine)
            answers.engine.cancel(job)
            seen = weakref.ref(job)
            del job
            await until(lambda: seen() is None)  # a decoder's thread is on its way out of it
    finally:
        gc.enable()


async def test_a_group_waits_while_it_holds_as_much_as_it_may():
    held = HeldBytes(most=10)
    held.change("a", 10)
    await asyncio.wait_for(held.room("b"), 10)
    waiting = [asyncio.ensure_future(held.room("a")) for _ in range(2)]
    held.change("a", 5)
    await asyncio.sleep(0)
    held.change("a", -5)
    await asyncio.sleep(0)
    assert not any(one.done() for one in waiting)
    held.change("a", -1)
    await asyncio.gather(*waiting)
    held.change("a", -9)
    assert held.of("a") == 0


async def test_who_gives_up_waiting_leaves_nothing_behind():
    held = HeldBytes(most=1)
    held.change("a", 1)
    waiting = asyncio.ensure_future(held.room("a"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    held.change("a", -1)
    assert not held._waiting and not held._held
