"""The table of sent frames."""

from __future__ import annotations

import asyncio

from edge_client.transport.in_flight import InFlight
from tests.support.client_samples import sent_frame

LONG = 60.0  # seconds, that no test waits for


def table() -> tuple[InFlight, list[int]]:
    overdue: list[int] = []
    return InFlight(overdue.append), overdue


async def test_a_frame_is_given_back_once():
    in_flight, _ = table()
    in_flight.add(sent_frame(7), LONG)
    popped = in_flight.pop(7)
    assert popped is not None
    assert popped.frame.frame_id == 7
    assert in_flight.pop(7) is None


async def test_an_unknown_frame_is_not_there():
    in_flight, _ = table()
    assert in_flight.pop(1) is None


async def test_waiting_ends_with_the_last_answer():
    in_flight, _ = table()
    await in_flight.wait_until_empty()
    in_flight.add(sent_frame(1), LONG)
    in_flight.add(sent_frame(2), LONG)
    waiting = asyncio.create_task(in_flight.wait_until_empty())
    in_flight.pop(2)
    await asyncio.sleep(0)
    assert not waiting.done()
    in_flight.pop(1)
    await asyncio.wait_for(waiting, 5)


async def test_all_are_given_back_when_the_link_is_down():
    in_flight, overdue = table()
    in_flight.add(sent_frame(1), 0.0)
    in_flight.add(sent_frame(2), 0.0)
    assert [sent.frame.frame_id for sent in in_flight.pop_all()] == [1, 2]
    assert len(in_flight) == 0
    await asyncio.sleep(0)
    assert overdue == []  # their time limits died with them


async def test_a_frame_without_an_answer_is_reported():
    told = asyncio.get_running_loop().create_future()
    in_flight = InFlight(told.set_result)
    in_flight.add(sent_frame(3), 0.0)
    assert await asyncio.wait_for(told, 5) == 3


async def test_a_frame_may_be_given_more_time():
    told = asyncio.get_running_loop().create_future()
    in_flight = InFlight(told.set_result)
    in_flight.add(sent_frame(1), LONG)
    in_flight.extend(1, 0.0)  # or less
    in_flight.extend(2, 0.0)  # which is not there
    assert await asyncio.wait_for(told, 5) == 1
    in_flight.add(sent_frame(3), 0.0)
    in_flight.extend(3, LONG)
    await asyncio.sleep(0)
    assert in_flight.pop(3) is not None
