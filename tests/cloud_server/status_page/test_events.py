"""Events for those who look: made once for all, the newest for the slow, and none while nobody looks."""

from __future__ import annotations

import asyncio

from cloud_server.status_page import events as events_module
from cloud_server.status_page.events import Broadcaster


def maker() -> tuple[list[bool], Broadcaster]:
    made: list[bool] = []

    def make(is_first: bool) -> str:
        made.append(is_first)
        return str(len(made))

    return made, Broadcaster(make, interval_s=0.0)


async def test_an_event_is_made_once_for_all_viewers():
    made, broadcaster = maker()
    queues = [broadcaster.enter() for _ in range(3)]
    assert made == [True, True, True]
    for queue in queues:
        await queue.get()
    assert [await queue.get() for queue in queues] == [b"event: fleet\ndata: 4\n\n"] * 3
    broadcaster.close()


async def test_a_viewer_that_does_not_read_holds_one_event_the_newest():
    made, broadcaster = maker()
    queue = broadcaster.enter()
    while len(made) < 50:
        await asyncio.sleep(0)
    assert queue.qsize() == 1
    assert await queue.get() == f"event: fleet\ndata: {len(made)}\n\n".encode()
    broadcaster.close()


async def test_nothing_is_made_while_nobody_looks():
    made, broadcaster = maker()
    queue = broadcaster.enter()
    broadcaster.leave(queue)
    before = len(made)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(made) == before and broadcaster.viewers == 0


async def test_viewers_are_bounded_and_all_are_told_of_the_end(monkeypatch):
    monkeypatch.setattr(events_module, "MAX_VIEWERS", 2)
    _, broadcaster = maker()
    first, second = broadcaster.enter(), broadcaster.enter()
    assert broadcaster.enter() is None
    broadcaster.close()
    assert [await first.get(), await second.get()] == [None, None]
    assert broadcaster.enter() is None
