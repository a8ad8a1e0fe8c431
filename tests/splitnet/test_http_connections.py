"""Connections that hold something for nothing are ended; a stream that is read goes on for days."""

from __future__ import annotations

import asyncio

from splitnet import http_connections as connections_module
from splitnet.http_connections import Connections


class Inner(asyncio.Protocol):
    """What the connections pass on to."""


class Wire(asyncio.Transport):
    """A peer that reads as much as it is told to."""

    def __init__(self) -> None:
        super().__init__()
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


def connected(connections: Connections) -> tuple[asyncio.Protocol, Wire]:
    protocol, wire = connections.protocol(), Wire()
    assert isinstance(protocol, asyncio.Protocol)
    protocol.connection_made(wire)
    return protocol, wire


def test_a_connection_that_says_nothing_is_ended():
    clock = Clock()
    connections = Connections(Inner, clock)
    _, silent = connected(connections)
    speaking, other = connected(connections)
    clock.now = 20.0
    speaking.data_received(b"GET")
    clock.now = 35.0
    connections.end_stalled()
    assert (silent.aborted, other.aborted) == (True, False)


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


def test_connections_are_bounded_and_one_that_ends_makes_room(monkeypatch):
    monkeypatch.setattr(connections_module, "MAX_CONNECTIONS", 2)
    connections = Connections(Inner)
    (first, _), _ = connected(connections), connected(connections)
    assert connected(connections)[1].aborted
    first.connection_lost(None)
