"""The daemon's end of the cluster, against a connector and replicas that the test plays."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloud_server.cluster.line import ReplicaFacts
from cloud_server.cluster.link import KEPT_REPLICAS, ClusterConfig, ClusterLink
from cloud_server.cluster.messages import Deploy, Refused, Replicas, Report, Retire
from cloud_server.cluster.scaling import Load
from splitnet.errors import ClusterError, ClusterTimeoutError
from splitnet.operating_point import Mode
from tests.support.fake_connector import Connectors, FakeConnector
from tests.support.fake_replica import BATCH, KEY, WAIT_S, FakeReplica

BUNDLE = Deploy(KEY, {"manifest.json": b"{}"}, {"threads": 1}, 1000)


class Setup:
    """A link, the connector at its other end, and a replica."""

    def __init__(self, timeout_s: float = WAIT_S) -> None:
        self.connectors = Connectors()
        self.now = 100.0
        self.link = ClusterLink(ClusterConfig("", 2, 4, timeout_s), self.connectors, lambda: self.now)
        self.changed = threading.Semaphore(0)
        self.link.on_change = self.changed.release
        self.link.start()
        self.connector = self.connectors.next()
        self.replica = FakeReplica()
        self.pool = ThreadPoolExecutor(4)

    def deploy(self) -> None:
        self.know(self.replica)
        self.link.deploy(BUNDLE, WAIT_S)

    def know(self, *replicas: FakeReplica) -> None:
        self.connector.say(Replicas([one.place for one in replicas]))
        self.until(lambda: self.link.running.get(KEY, 0) == len(replicas))

    def compute(self):
        return self.pool.submit(self.link.compute, KEY, Mode.SPLIT, BATCH)

    def answered(self):
        """Let a batch be computed; returns what came back."""
        return self.compute().result(WAIT_S)

    def late(self) -> None:
        """Let a batch come back too late, and the replica greet again."""
        self.replica.gate.clear()
        with pytest.raises(ClusterTimeoutError, match="no replica has answered in time"):
            self.answered()
        self.replica.gate.set()
        while not self.link.running:
            self.know_again()

    def know_again(self) -> None:
        self.connector.say(Replicas([self.replica.place]))
        self.changed.acquire(timeout=0.05)

    def until(self, is_so) -> None:
        while not is_so():
            assert self.changed.acquire(timeout=WAIT_S)

    def stop(self) -> None:
        self.replica.close()
        self.link.stop()
        self.pool.shutdown()


@pytest.fixture
def setup() -> Iterator[Setup]:
    one = Setup()
    yield one
    one.stop()


def deployed(setup: Setup) -> Setup:
    setup.deploy()
    return setup


def test_a_batch_goes_out_and_its_detections_come_back(setup):
    deployed(setup)
    assert setup.link.is_up
    assert [one.labels.tolist() for one in setup.answered()] == [[7]]
    assert setup.link.batches == {"r1": 1} and setup.link.replicas == {"r1": setup.replica.facts}


def test_the_connector_is_told_which_cluster_and_how_many_replicas(setup):
    started = setup.connector.started
    assert (started.address, started.least_replicas, started.most_replicas) == ("", 2, 4)


def test_a_bundle_that_nobody_has_loaded_fails_at_once(setup):
    with pytest.raises(ClusterError, match="no replica of the bundle"):
        setup.link.compute("another", Mode.SPLIT, BATCH)


def test_a_bundle_that_replicas_cannot_hold_is_refused_with_their_reason(setup, caplog):
    setup.connector.refuses = "MemoryError: 3 GB"
    with caplog.at_level(logging.ERROR), pytest.raises(ClusterError, match="MemoryError: 3 GB"):
        setup.link.deploy(BUNDLE, WAIT_S)
    assert "the cluster cannot run a bundle" in caplog.text
    with pytest.raises(ClusterError, match="no replica"):
        setup.link.compute(KEY, Mode.SPLIT, BATCH)


def test_failures_in_a_row_hold_further_calls_back_until_one_is_tried_again(monkeypatch):
    monkeypatch.setattr("cloud_server.cluster.lines.REDIAL_S", 0.0)
    setup = Setup(timeout_s=0.1)
    try:
        deployed(setup)
        setup.late()
        setup.late()
        assert not setup.link.is_up and setup.link.failures == 2
        with pytest.raises(ClusterError, match="does not answer"):
            setup.link.compute(KEY, Mode.SPLIT, BATCH)
        setup.now += 1.0
        setup.answered()
        assert setup.link.is_up
    finally:
        setup.stop()


def test_a_batch_that_cannot_be_computed_fails_with_the_reason_and_holds_nothing_back(setup):
    deployed(setup)
    setup.replica.fails = ValueError("a poisoned frame")
    for _ in range(3):
        with pytest.raises(ClusterError, match="ValueError: a poisoned frame"):
            setup.answered()
    assert setup.link.is_up and setup.link.failures == 0


def test_when_the_connector_dies_replicas_answer_on_and_another_gets_all_bundles(setup):
    deployed(setup)
    assert setup.connector.others.get(timeout=WAIT_S) == BUNDLE
    setup.connector.hang_up()
    assert setup.connectors.processes[0].ended.wait(WAIT_S)
    assert setup.answered()[0].labels.tolist() == [7]


def test_another_connector_follows_and_is_given_what_was_deployed(monkeypatch):
    monkeypatch.setattr("cloud_server.cluster.link.FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr("cloud_server.cluster.link.LONGEST_PAUSE_S", 0.0)
    setup = Setup()
    try:
        deployed(setup)
        setup.connector.hang_up()
        second = setup.connectors.next()
        assert second.others.get(timeout=WAIT_S) == BUNDLE
        assert setup.answered()[0].labels.tolist() == [7]
        assert setup.link.restarts == 1
    finally:
        setup.stop()


def test_an_address_that_cannot_be_reached_is_named_in_the_log(setup, caplog):
    with caplog.at_level(logging.ERROR):
        setup.connector.say(Refused("ConnectionError: 10.0.0.9:6379"))
        setup.connector.hang_up()
        assert setup.connectors.processes[0].ended.wait(WAIT_S)
    (record,) = [one for one in caplog.records if one.message == "no cluster"]
    assert record.reason == "ConnectionError: 10.0.0.9:6379"


def test_a_cluster_that_shrinks_to_nothing_gets_no_batches(setup):
    deployed(setup)
    setup.know()
    assert not setup.link.is_up
    with pytest.raises(ClusterError, match="no replica"):
        setup.link.compute(KEY, Mode.SPLIT, BATCH)
    assert setup.link.failures == 0


def test_the_load_is_reported_with_half_of_the_time_of_calls(setup):
    deployed(setup)
    setup.replica.gate.clear()
    outcome = setup.compute()
    assert setup.replica.entered.acquire(timeout=WAIT_S)
    setup.now += 0.5
    setup.replica.gate.set()
    outcome.result(WAIT_S)
    setup.link.report(KEY, queue_s=0.25, within_s=1.0)
    setup.link.retire(KEY)
    said = [setup.connector.others.get(timeout=WAIT_S) for _ in range(3)]
    assert said == [BUNDLE, Report(KEY, Load(0.25, 0.25)), Retire(KEY)]


def test_figures_of_replicas_that_come_and_go_are_bounded(setup):
    deployed(setup)
    for number in range(KEPT_REPLICAS + 3):
        setup.replica.facts = ReplicaFacts(f"r{number}", "node1", 1.0)
        setup.answered()
    assert len(setup.link.replicas) == len(setup.link.batches) == KEPT_REPLICAS
    assert "r0" not in setup.link.replicas


def test_stopping_ends_the_connector_and_hangs_up_on_replicas():
    setup = Setup()
    deployed(setup)
    setup.stop()
    with pytest.raises(ClusterError):
        setup.link.compute(KEY, Mode.SPLIT, BATCH)
    assert isinstance(setup.connector, FakeConnector) and setup.connectors.processes[0].ended.wait(WAIT_S)
