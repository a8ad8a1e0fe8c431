"""A daemon's lines to several replicas: who gets a batch, and what becomes of it when one goes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from cloud_server.cluster import lines as lines_module
from cloud_server.cluster.line import Answer
from cloud_server.cluster.lines import Lines
from cloud_server.cluster.scaling import PLACES
from splitnet.errors import ClusterError, ClusterTimeoutError
from tests.support.fake_replica import KEY, QUESTION, WAIT_S, FakeReplica


class Site:
    """Lines to two replicas."""

    def __init__(self) -> None:
        self.changed = threading.Semaphore(0)
        self.lines = Lines(self.changed.release)
        self.first, self.second = self.replicas = FakeReplica("r1", 1), FakeReplica("r2", 2)
        self.pool = ThreadPoolExecutor(8)

    def know(self, *replicas: FakeReplica) -> None:
        self.lines.know([one.place for one in replicas])
        self.until(len(replicas))

    def until(self, connected: int) -> None:
        while self.lines.connected[KEY] != connected:
            assert self.changed.acquire(timeout=WAIT_S)

    def ask(self, timeout_s: float = WAIT_S) -> Future[Answer]:
        return self.pool.submit(self.lines.ask, KEY, QUESTION, timeout_s)

    def label(self) -> int:
        (found,) = self.ask().result(WAIT_S).detections
        return int(found.labels[0])

    def hold(self) -> None:
        for one in self.replicas:
            one.gate.clear()


@pytest.fixture
def site(monkeypatch) -> Iterator[Site]:
    monkeypatch.setattr(lines_module, "REDIAL_S", 0.0)
    one = Site()
    yield one
    for replica in one.replicas:
        replica.close()
    one.lines.stop()
    one.pool.shutdown()


def test_a_batch_goes_to_the_replica_that_has_the_fewest(site):
    site.know(*site.replicas)
    site.hold()
    waiting = [site.ask(), site.ask()]
    for one in site.replicas:
        assert one.entered.acquire(timeout=WAIT_S)
        one.gate.set()
    assert sorted(one.result(WAIT_S).by.replica for one in waiting) == ["r1", "r2"]


def test_when_all_places_are_taken_a_batch_waits_for_one(site):
    site.know(site.first)
    site.hold()
    waiting = [site.ask() for _ in range(PLACES + 1)]
    site.first.gate.set()
    assert [one.result(WAIT_S).by.replica for one in waiting] == ["r1"] * (PLACES + 1)


def test_a_batch_that_finds_no_place_in_time_is_late(site):
    site.know(site.first)
    site.hold()
    waiting = [site.ask() for _ in range(PLACES)]
    assert site.first.entered.acquire(timeout=WAIT_S)
    with pytest.raises(ClusterTimeoutError):
        site.ask(0.05).result(WAIT_S)
    site.first.gate.set()
    assert all(one.result(WAIT_S) for one in waiting)


def test_the_batch_of_a_replica_that_goes_is_computed_by_another(site):
    site.know(site.first)
    site.hold()
    waiting = site.ask()
    assert site.first.entered.acquire(timeout=WAIT_S)
    site.second.gate.set()
    site.know(*site.replicas)
    site.first.die()
    assert waiting.result(WAIT_S).by.replica == "r2"
    site.until(1)


def test_without_any_replica_a_batch_fails_at_once(site):
    with pytest.raises(ClusterError, match="no replica"):
        site.lines.ask(KEY, QUESTION, WAIT_S)
    site.know(site.first)
    site.first.close()
    with pytest.raises(ClusterError, match="no replica"):
        site.lines.ask(KEY, QUESTION, WAIT_S)


def test_a_replica_that_is_late_gets_no_more_batches_until_it_greets_again(site):
    site.know(*site.replicas)
    site.first.gate.clear()
    late = [site.ask(0.1), site.ask(0.1)]
    outcomes = [one.exception(WAIT_S) for one in late]
    assert sorted(type(one).__name__ for one in outcomes) == ["ClusterTimeoutError", "NoneType"]
    assert site.lines.connected[KEY] == 1
    assert [site.label() for _ in range(4)] == [2] * 4
    site.first.gate.set()
    site.know(*site.replicas)
    assert site.label() in (1, 2)


def test_who_is_on_the_list_no_more_gets_no_more_batches(site):
    site.know(*site.replicas)
    site.lines.know([site.second.place])
    assert site.lines.connected[KEY] == 1
    assert [site.label() for _ in range(4)] == [2] * 4


def test_a_batch_that_is_under_way_is_answered_though_its_replica_leaves_the_list(site):
    site.know(site.first)
    site.hold()
    waiting = site.ask()
    assert site.first.entered.acquire(timeout=WAIT_S)
    site.lines.know([])
    site.first.gate.set()
    assert waiting.result(WAIT_S).by.replica == "r1"
    assert site.lines.connected[KEY] == 0


def test_a_replica_that_cannot_be_reached_is_dialled_again(site):
    site.second.close()
    site.lines.know([site.first.place, site.second.place])
    site.until(1)
    assert site.label() == 1
    assert site.lines.wait_for(KEY, WAIT_S) and not site.lines.wait_for("another", 0.0)
