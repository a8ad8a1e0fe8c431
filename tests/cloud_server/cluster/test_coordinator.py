"""What is told in one place of a cluster: where replicas are, and what all daemons ask of them."""

from __future__ import annotations

import pytest

from cloud_server.cluster.line import Place
from cloud_server.cluster.replica import HEARD_S, UNUSED_S, Coordinator
from cloud_server.cluster.scaling import Load

ONE = Place("coco-ab12", "r1", "10.0.0.1", 4000, b"token")
OTHER = Place("coco-ab12", "r2", "10.0.0.2", 4000, b"token")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def coordinator(clock: Clock) -> Coordinator:
    return Coordinator(clock)


def test_replicas_are_known_as_long_as_they_are_heard(coordinator, clock):
    coordinator.arrive(ONE)
    clock.now += HEARD_S - 1
    coordinator.arrive(OTHER)
    assert coordinator.places() == [ONE, OTHER]
    clock.now += 1
    assert coordinator.places() == [OTHER]


def test_a_replica_that_goes_in_order_is_forgotten_at_once(coordinator):
    coordinator.arrive(ONE)
    coordinator.leave("r1")
    coordinator.leave("r1")
    assert coordinator.places() == []


def test_daemons_ask_together_and_those_that_are_silent_no_more(coordinator, clock):
    assert coordinator.report("coco", "front 1", Load(0.1, 1.0)) == Load(0.1, 1.0)
    assert coordinator.report("coco", "front 2", Load(0.3, 0.5)) == Load(0.3, 1.5)
    clock.now += HEARD_S
    assert coordinator.report("coco", "front 2", Load(0.2, 0.25)) == Load(0.2, 0.25)


def test_a_bundle_goes_with_the_last_daemon_that_needs_it(coordinator):
    coordinator.report("coco", "front 1", Load())
    coordinator.report("coco", "front 2", Load())
    assert coordinator.withdraw("coco", "front 1")
    assert not coordinator.withdraw("coco", "front 2")


def test_replicas_of_daemons_that_died_are_unused_after_a_while(coordinator, clock):
    coordinator.arrive(ONE)
    clock.now += UNUSED_S
    assert coordinator.unused() == []
    clock.now += 1
    assert coordinator.unused() == ["coco-ab12"]
    coordinator.report("coco-ab12", "front 1", Load())
    assert coordinator.unused() == []
    coordinator.drop("coco-ab12")
    assert coordinator.places() == [] and coordinator.unused() == []
