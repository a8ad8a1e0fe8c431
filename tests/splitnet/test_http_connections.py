"""Connections that hold something for nothing are ended; a stream that is read goes on for days."""

from __future__ import annotations

import asyncio

from splitnet import http_connections as connections_module
from splitnet.http_connections import Connections


class Inner(asyncio.Protocol):
    """What the connections pass on to."""


class Wire(asyncio.Transport):
    """A peer that reads as much as it is told to."""

    def __init__(self, address: str) -> None:
        super().__init__({"peername": (address, 1)})
        self.waiting = 0
        self.aborted = False

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def abort(self) -> None:
        self.aborted = True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def connected(connections: Connections, address: str = "192.0.2.1") -> tuple[asyncio.Protocol, Wire]:
    protocol, wire = connections.protocol(), Wire(address)
    assert isinstance(protocol, asyncio.Protocol)
    protocol.connection_made(wire)
    return protocol, wire


def test_a_connection_that_asks_nothing_is_ended_be_it_silent_or_slow():
    clock, inners = Clock(), [Inner(), Inner(), Inner()]
    connections = Connections(iter(inners).__next__, clock)
    (_, silent), (slow, trickling), (_, asking) = (connected(connections) for _ in inners)
    clock.now = 20.0
    slow.data_received(b"G")  # a byte now and then, and never a whole request
    connections.moved(inners[2])
    clock.now = 35.0
    connections.end_stalled()
    assert (silent.aborted, trickling.aborted, asking.aborted) == (True, True, False)


def test_a_scrape_that_never_reads_is_ended_and_one_that_reads_slowly_is_not():
    clock = Clock()
    connections = Connections(Inner, clock)
    (_, stuck), (_, slow) = connected(connections), connected(connections)
    stuck.waiting = slow.waiting = 100_000
    for second in range(5, 60, 5):
        clock.now = float(second)
        slow.waiting -= 1000
        connections.end_stalled()
    assert (stuck.aborted, slow.aborted) == (True, False)


def test_a_stream_whose_events_are_taken_stays_open_for_days():
    clock, inner = Clock(), Inner()
    connections = Connections(lambda: inner, clock)
    _, viewer = connected(connections)
    for hour in range(72):
        clock.now = hour * 3600.0
        connections.moved(inner)
        connections.end_stalled()
    assert not viewer.aborted


def test_one_address_leaves_room_to_others(monkeypatch):
    monkeypatch.setattr(connections_module, "MAX_OF_ADDRESS", 2)
    connections = Connections(Inner)
    assert [connected(connections)[1].aborted for _ in range(3)] == [False, False, True]
    assert not connected(connections, "192.0.2.2")[1].aborted


def test_connections_are_bounded_and_one_that_ends_makes_room(monkeypatch):
    monkeypatch.setattr(connections_module, "MAX_CONNECTIONS", 2)
    connections = Connections(Inner)
    (first, _), _ = connected(connections), connected(connections)
    assert connected(connections)[1].aborted
    first.connection_lost(None)
