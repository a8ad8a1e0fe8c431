"""Keeping a session open, with sessions that are scripted instead of connected."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from edge_client.transport.connection import Connection
from splitnet.backoff import Backoff
from splitnet.detections import Detections
from splitnet.errors import BundleMismatchError, LinkError, ProtocolError
from splitnet.messages import Ack, FrameDetections, OpenSession, ServerTiming

OPENING = OpenSession("test", "ab" * 32)
ACK = Ack(1, 2, 3, 4)
BROKEN = LinkError("broken")


class FakeSession:
    """Yields its replies, then fails; or, without an error, stays open until it is finished."""

    def __init__(self, replies, error: Exception | None, server: str = "host:1") -> None:
        self.scripted, self.error, self.server = replies, error, server
        self.references_kept, self.codecs, self.id = 4, None, ""
        self.sent = []
        self.over = asyncio.Event()

    def send(self, frame) -> None:
        self.sent.append(frame)

    def finish(self) -> None:
        self.over.set()

    async def replies(self):
        for reply in self.scripted:
            yield reply
        if self.error:
            raise self.error
        await self.over.wait()

    def abort(self) -> None:
        self.over.set()


class Opener:
    """Opens the scripted sessions one after the other; an exception stands for a failed attempt."""

    def __init__(self, *script) -> None:
        self.script = list(script)
        self.asked = []

    @asynccontextmanager
    async def __call__(self, servers, opening):
        self.asked.append(servers)
        outcome = self.script.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        yield outcome


class Listener:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told = []
        self.up_again = asyncio.Event()

    def link_up(self, server: str, references_kept: int, codecs: object = None) -> None:
        self.told.append("up")
        if self.told.count("up") == 2:
            self.up_again.set()

    def link_down(self) -> None:
        self.told.append("down")

    def receive(self, reply) -> None:
        self.told.append(reply)


def connection(
    opener: Opener,
    listener: Listener,
    delays: list | None = None,
    servers: tuple[str, ...] = ("host:1",),
    needed: bool = True,
) -> Connection:
    class Recorded(Backoff):
        def next_delay_s(self) -> float:
            if delays is not None:
                delays.append(super().next_delay_s())
            return 0.0

    return Connection(servers, OPENING, listener, Recorded(lambda: 1.0), opener, needed)


async def test_a_broken_session_is_followed_by_another(caplog):
    opener = Opener(FakeSession([ACK], BROKEN), LinkError("away"), FakeSession([], None))
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
    last = FakeSession([], None)
    opener = Opener(*[LinkError("away")] * 4, FakeSession([], BROKEN), last)
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
    session, listener = FakeSession([], None), Listener()
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
    kept = Connection(["host:1"], OPENING, Listener(), Backoff(lambda: 1.0, first_s=3600), Opener(LinkError("away")))
    running = asyncio.create_task(kept.run())
    await asyncio.sleep(0)
    await asyncio.wait_for(kept.end(running), 5)
    assert running.done()


async def opened_twice(*script) -> tuple[Opener, Listener]:
    """Keep a connection to either of two servers until its second session is open."""
    opener, listener = Opener(*script), Listener()
    kept = connection(opener, listener, servers=("near:1", "far:1"))
    running = asyncio.create_task(kept.run())
    await asyncio.wait_for(listener.up_again.wait(), 5)
    await kept.end(running)
    return opener, listener


async def test_a_server_that_fails_is_tried_after_the_others(caplog):
    opener, listener = await opened_twice(
        FakeSession([ACK], BROKEN, server="near:1"), FakeSession([], None, server="far:1")
    )
    assert opener.asked == [("near:1", "far:1"), ("far:1", "near:1")]
    assert listener.told == ["up", ACK, "down", "up", "down"]
    assert [record.message for record in caplog.records] == [
        "no link to near:1, trying again: broken",
        "connected to far:1 instead of near:1",
    ]


async def test_the_users_order_counts_again_once_a_server_has_served():
    answer = FrameDetections(1, 0, Detections.empty(), ServerTiming(0.0, 0.0, 0.0))
    opener, listener = Opener(FakeSession([], BROKEN, "a:1"), FakeSession([answer], BROKEN, "b:1")), Listener()
    opener.script.append(FakeSession([], None, "a:1"))
    kept = connection(opener, listener, servers=("a:1", "b:1", "c:1"))
    running = asyncio.create_task(kept.run())
    while listener.told.count("up") < 3:
        await asyncio.sleep(0)
    await kept.end(running)
    assert opener.asked == [("a:1", "b:1", "c:1"), ("b:1", "c:1", "a:1"), ("a:1", "c:1", "b:1")]


async def test_an_outage_of_all_servers_names_them_once(caplog):
    refused = LinkError("near:1: away; far:1: away")
    last = FakeSession([], None, server="near:1")
    first = FakeSession([], BROKEN, server="near:1")
    await opened_twice(refused, refused, first, last)
    assert [record.message for record in caplog.records] == [
        "no link to near:1 or far:1, trying again: near:1: away; far:1: away",
        "connected to near:1 again",
        "no link to near:1, trying again: broken",
        "connected to near:1 again",
    ]


async def test_leaving_a_session_lets_it_end_and_opens_the_next_without_a_word(caplog):
    first = FakeSession([], None, server="near:1")
    second = FakeSession([], None, server="far:1")
    opener, listener = Opener(first, second), Listener()
    kept = connection(opener, listener, servers=("near:1", "far:1"))
    running = asyncio.create_task(kept.run())
    while not listener.told:
        await asyncio.sleep(0)
    kept.leave_session(grace_s=3600)
    await asyncio.wait_for(listener.up_again.wait(), 5)
    assert kept.send("frame") and second.sent == ["frame"] and first.sent == []
    await kept.end(running)
    assert [record.message for record in caplog.records] == ["connected to far:1 instead of near:1"]


async def test_a_server_that_breaks_the_rules_is_left_for_the_next_one(caplog):
    bad, good = FakeSession([ACK], ProtocolError("detections do not fit"), "near:1"), FakeSession([], None, "far:1")
    opener, listener = await opened_twice(bad, good)
    assert opener.asked == [("near:1", "far:1"), ("far:1", "near:1")]
    assert listener.told == ["up", ACK, "down", "up", "down"]
    assert caplog.messages[0] == "no link to near:1, trying again: detections do not fit"


async def test_when_every_server_has_broken_the_rules_the_run_is_over():
    broken = [FakeSession([], ProtocolError(f"{name} is bad"), f"{name}:1") for name in ("near", "far")]
    kept = connection(Opener(*broken), Listener(), servers=("near:1", "far:1"))
    with pytest.raises(ProtocolError, match="far is bad"):
        await kept.run()


async def test_a_device_that_detects_alone_goes_on_asking_and_says_so(caplog):
    other = BundleMismatchError("the server serves another bundle")
    first, last = FakeSession([ACK], BROKEN), FakeSession([], None)
    opener, listener = Opener(first, LinkError("away"), other, other, last), Listener()
    kept = connection(opener, listener, needed=False)
    running = asyncio.create_task(kept.run())
    await asyncio.wait_for(listener.up_again.wait(), 5)
    await kept.end(running)
    assert caplog.messages == [
        "no link to host:1, this device detects alone and goes on asking: broken",
        "no link to host:1, this device detects alone and goes on asking: the server serves another bundle",
        "connected to host:1 again",
    ]
