"""Keeping a session open, with sessions that are scripted instead of connected."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from edge_client.backoff import Backoff
from edge_client.connection import Connection
from splitnet.errors import BundleMismatchError, LinkError
from splitnet.messages import Ack, OpenSession

OPENING = OpenSession("test", "ab" * 32)
ACK = Ack(1, 2, 3, 4)


class FakeSession:
    """Yields its replies, then breaks; or stays open until it is finished."""

    def __init__(self, replies, breaks: bool) -> None:
        self.scripted, self.breaks = replies, breaks
        self.sent = []
        self.over = asyncio.Event()

    def send(self, frame) -> None:
        self.sent.append(frame)

    def finish(self) -> None:
        self.over.set()

    async def replies(self):
        for reply in self.scripted:
            yield reply
        if self.breaks:
            raise LinkError("broken")
        await self.over.wait()

    def abort(self) -> None:
        self.over.set()


class Opener:
    """Opens the scripted sessions one after the other; an exception stands for a failed attempt."""

    def __init__(self, *script) -> None:
        self.script = list(script)

    @asynccontextmanager
    async def __call__(self, server, opening):
        outcome = self.script.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        yield outcome


class Listener:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told = []
        self.up_again = asyncio.Event()

    def link_up(self) -> None:
        self.told.append("up")
        if self.told.count("up") == 2:
            self.up_again.set()

    def link_down(self) -> None:
        self.told.append("down")

    def receive(self, reply) -> None:
        self.told.append(reply)


def connection(opener: Opener, listener: Listener, delays: list | None = None) -> Connection:
    class Recorded(Backoff):
        def next_delay_s(self) -> float:
            if delays is not None:
                delays.append(super().next_delay_s())
            return 0.0

    return Connection("host:1", OPENING, listener, Recorded(lambda: 1.0), opener)


async def test_a_broken_session_is_followed_by_another(caplog):
    opener = Opener(FakeSession([ACK], breaks=True), LinkError("away"), FakeSession([], breaks=False))
    listener = Listener()
    kept = connection(opener, listener)
    running = asyncio.create_task(kept.run())
    await asyncio.wait_for(listener.up_again.wait(), 5)
    await kept.end(running)
    assert listener.told == ["up", ACK, "down", "up", "down"]
    assert [record.message for record in caplog.records] == [
        "no link to host:1, trying again: broken",
        "connected to host:1 again",
    ]


async def test_delays_grow_while_the_server_is_away():
    delays: list[float] = []
    last = FakeSession([], breaks=False)
    opener = Opener(*[LinkError("away")] * 4, FakeSession([], breaks=True), last)
    listener = Listener()
    kept = connection(opener, listener, delays)
    running = asyncio.create_task(kept.run())
    await asyncio.wait_for(listener.up_again.wait(), 5)
    await kept.end(running)
    assert delays[:5] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])  # an opened session alone does not start over


async def test_a_fatal_refusal_ends_it():
    kept = connection(Opener(BundleMismatchError("other bundle")), Listener())
    with pytest.raises(BundleMismatchError):
        await kept.run()


async def test_frames_are_sent_only_while_a_session_is_open():
    session, listener = FakeSession([], breaks=False), Listener()
    kept = connection(Opener(session), listener)
    assert not kept.send("early")
    running = asyncio.create_task(kept.run())
    while not listener.told:
        await asyncio.sleep(0)
    assert kept.send("frame")
    await kept.end(running)
    assert session.sent == ["frame"]
    assert not kept.send("late")


async def test_the_end_interrupts_the_wait_for_the_next_attempt():
    kept = Connection("host:1", OPENING, Listener(), Backoff(lambda: 1.0, first_s=3600), Opener(LinkError("away")))
    running = asyncio.create_task(kept.run())
    await asyncio.sleep(0)
    await asyncio.wait_for(kept.end(running), 5)
    assert running.done()
