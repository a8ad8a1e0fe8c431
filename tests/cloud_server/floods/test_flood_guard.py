"""The guard's thread: it goes on whatever a look does, and keeps nothing where it cannot look."""

from __future__ import annotations

import socket
import threading

import pytest

from cloud_server.floods import flood_guard as module
from cloud_server.floods.flood_guard import FloodGuard
from cloud_server.floods.flood_rule import FloodLimits, FloodRule, Seen, Verdict
from cloud_server.floods.flows import Endpoint, Flows

FLOOD = Seen(7, Endpoint("192.0.2.1", 5000), 1 << 30, 0)


class Sockets:
    """Those of a system that shows them, and takes no filter."""

    def __init__(self) -> None:
        self.looks: list[list[Seen]] = []
        self.cuts: list[tuple[int, ...]] = []
        self.done = threading.Event()

    def look(self) -> list[Seen]:
        if not self.looks:
            self.done.set()
            return []
        return self.looks.pop(0)

    def cut(self, ids: tuple[int, ...]) -> None:
        self.cuts.append(ids)

    def bar(self, program: bytes) -> None:
        raise OSError(92, "Protocol not available")


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Sockets:
    made = Sockets()
    monkeypatch.setattr(module, "can_see", lambda: True)
    monkeypatch.setattr(module, "OwnSockets", lambda ports: made)
    monkeypatch.setattr(module, "LOOK_INTERVAL_S", 0.0)
    return made


def run(guard: FloodGuard, sockets: Sockets) -> None:
    guard.start([1])
    assert sockets.done.wait(10)
    guard.stop()


def test_a_flood_is_cut_and_told_where_no_filter_can_be_set(sockets, caplog):
    sockets.looks = [[FLOOD]]
    guard = FloodGuard(Flows(), FloodLimits())
    run(guard, sockets)
    assert (7,) in sockets.cuts and guard.floods == 1
    (told,) = [one for one in caplog.records if one.msg.startswith("flood cut")]
    assert (told.address, told.connections) == ("192.0.2.1", 1)
    assert "takes no filter" in caplog.text


def test_a_look_that_fails_is_told_and_the_next_one_comes(sockets, monkeypatch, caplog):
    sockets.looks = [[], [FLOOD]]
    verdicts = iter([ZeroDivisionError(), Verdict((7,), (), ("192.0.2.1",))])

    def look(self: FloodRule, now: float, seen: list[Seen]) -> Verdict:
        verdict = next(verdicts, Verdict((), ()))
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    monkeypatch.setattr(FloodRule, "look", look)
    guard = FloodGuard(Flows(), FloodLimits())
    run(guard, sockets)
    assert guard.floods == 1 and "not looked for" in caplog.text


def test_where_sockets_are_not_shown_it_says_so_and_nothing_is_kept(monkeypatch, caplog):
    monkeypatch.setattr(module, "can_see", lambda: False)
    flows = Flows()
    FloodGuard(flows, FloodLimits()).start([1])
    flows.called("ipv4:192.0.2.1:5000")
    assert flows.of(Endpoint("192.0.2.1", 5000)) is None
    assert "not kept out" in caplog.text


def test_the_default_looks_at_real_sockets():
    """A port that is not the guard's is none of its business."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        guard = FloodGuard(Flows(), FloodLimits(connections=1))
        guard.start([other.getsockname()[1] + 1])
        with socket.create_connection(other.getsockname()[:2]) as one:
            assert one.getpeername() == other.getsockname()
        guard.stop()
