"""The daemon's end of the cluster, against a connector that the test plays."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cloud_server.cluster.link import KEPT_REPLICAS, ClusterConfig, ClusterLink
from cloud_server.cluster.messages import (
    Compute,
    Deploy,
    Failed,
    Found,
    Refused,
    ReplicaFacts,
    Replicas,
    Report,
    Retire,
)
from cloud_server.cluster.scaling import Load
from cloud_server.compute.decoded_frame import DecodedFrame
from splitnet.errors import ClusterError, ClusterTimeoutError
from splitnet.letterbox import Letterbox
from splitnet.operating_point import Codec, Mode, OperatingPoint
from tests.support.fake_connector import WAIT_S, Connectors, FakeConnector
from tests.support.fake_model import one_object

BUNDLE = Deploy("coco-ab12", {"manifest.json": b"{}"}, {"threads": 1}, 1000)
BY = ReplicaFacts("r1", "node1", 512.0)
BATCH = [
    DecodedFrame(np.zeros((4, 26, 26), np.int16), OperatingPoint(Codec.RANS, 1, 0), Letterbox.fit(416, 416, 416)),
]


class Setup:
    """A link, and the connector at its other end."""

    def __init__(self, timeout_s: float = WAIT_S) -> None:
        self.connectors = Connectors()
        self.now = 100.0
        self.link = ClusterLink(ClusterConfig("", 2, 4, timeout_s), self.connectors, lambda: self.now)
        self.changed = threading.Semaphore(0)
        self.link.on_change = self.changed.release
        self.link.start()
        self.connector = self.connectors.next()
        self.pool = ThreadPoolExecutor(4)

    def deploy(self) -> None:
        self.link.deploy(BUNDLE, WAIT_S)

    def compute(self):
        return self.pool.submit(self.link.compute, BUNDLE.key, Mode.SPLIT, BATCH)

    def answered(self, by: ReplicaFacts = BY):
        """Let a batch be computed; returns what came back."""
        outcome = self.compute()
        call = self.connector.batches.get(timeout=WAIT_S)
        self.connector.say(Found(call.call, [one_object(7)], by))
        return outcome.result(WAIT_S)

    def refused(self, late: bool = False) -> None:
        outcome = self.compute()
        call = self.connector.batches.get(timeout=WAIT_S)
        self.connector.say(Failed(call.call, "ActorDiedError: gone", late))
        with pytest.raises(ClusterTimeoutError if late else ClusterError, match="ActorDiedError: gone"):
            outcome.result(WAIT_S)

    def until(self, is_so) -> None:
        while not is_so():
            assert self.changed.acquire(timeout=WAIT_S)


@pytest.fixture
def setup() -> Iterator[Setup]:
    one = Setup()
    one.until(lambda: one.link.is_up)
    yield one
    one.link.stop()
    one.pool.shutdown()


def deployed(setup: Setup) -> Setup:
    setup.deploy()
    return setup


def test_a_batch_goes_out_and_its_detections_come_back(setup):
    deployed(setup)
    outcome = setup.compute()
    call = setup.connector.batches.get(timeout=WAIT_S)
    assert isinstance(call, Compute)
    assert (call.key, call.mode, call.timeout_s) == (BUNDLE.key, Mode.SPLIT, WAIT_S)
    assert call.frames[0].point == BATCH[0].point and call.frames[0].data.shape == (4, 26, 26)
    setup.connector.say(Found(call.call, [one_object(7)], BY))
    assert [one.labels.tolist() for one in outcome.result(WAIT_S)] == [[7]]
    assert setup.link.batches == {"r1": 1} and setup.link.replicas == {"r1": BY}


def test_answers_find_their_batches_in_any_order(setup):
    deployed(setup)
    outcomes = [setup.compute() for _ in range(3)]
    calls = [setup.connector.batches.get(timeout=WAIT_S) for _ in range(3)]
    for call in reversed(calls):
        setup.connector.say(Found(call.call, [one_object(call.call)], BY))
    found = sorted(outcome.result(WAIT_S)[0].labels.tolist()[0] for outcome in outcomes)
    assert found == sorted(call.call for call in calls)


def test_the_connector_is_told_which_cluster_and_how_many_replicas(setup):
    started = setup.connector.started
    assert (started.address, started.least_replicas, started.most_replicas) == ("", 2, 4)


def test_a_bundle_that_nobody_has_loaded_fails_at_once(setup):
    with pytest.raises(ClusterError, match="no replica of the bundle"):
        setup.link.compute("another", Mode.SPLIT, BATCH)


def test_a_bundle_that_replicas_cannot_hold_is_refused_with_their_reason_and_tried_no_more(setup, caplog):
    setup.connector.refuses = "MemoryError: 3 GB"
    with caplog.at_level(logging.ERROR), pytest.raises(ClusterError, match="MemoryError: 3 GB"):
        setup.deploy()
    assert "the cluster cannot run a bundle" in caplog.text
    with pytest.raises(ClusterError, match="no replica"):
        setup.link.compute(BUNDLE.key, Mode.SPLIT, BATCH)


def test_failures_in_a_row_hold_further_calls_back_until_one_is_tried_again(setup):
    deployed(setup)
    setup.refused()
    setup.refused(late=True)
    assert not setup.link.is_up and setup.link.failures == 2
    with pytest.raises(ClusterError, match="does not answer"):
        setup.link.compute(BUNDLE.key, Mode.SPLIT, BATCH)
    setup.now += 1.0
    setup.answered()
    assert setup.link.is_up


def test_a_call_that_nobody_answers_ends_by_its_own_deadline_and_a_late_answer_is_dropped():
    setup = Setup(timeout_s=0.05)
    try:
        deployed(setup)
        outcome = setup.compute()
        call = setup.connector.batches.get(timeout=WAIT_S)
        with pytest.raises(ClusterTimeoutError, match="has not answered in time"):
            outcome.result(WAIT_S)
        setup.connector.say(Found(call.call, [one_object(1)], BY))
        assert setup.answered()[0].labels.tolist() == [7]
    finally:
        setup.link.stop()


def test_when_the_connector_dies_its_calls_fail_at_once_and_another_gets_all_bundles(setup):
    deployed(setup)
    outcome = setup.compute()
    setup.connector.batches.get(timeout=WAIT_S)
    assert setup.connector.others.get(timeout=WAIT_S) == BUNDLE
    setup.connector.hang_up()
    with pytest.raises(ClusterError, match="connector has ended"):
        outcome.result(WAIT_S)
    assert setup.connectors.processes[0].ended.wait(WAIT_S)


def test_another_connector_follows_and_is_given_what_was_deployed(monkeypatch):
    monkeypatch.setattr("cloud_server.cluster.link.FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr("cloud_server.cluster.link.LONGEST_PAUSE_S", 0.0)
    setup = Setup()
    try:
        deployed(setup)
        setup.connector.hang_up()
        second = setup.connectors.next()
        assert second.others.get(timeout=WAIT_S) == BUNDLE
        setup.connector = second
        setup.until(lambda: bool(setup.link.running))
        assert setup.answered()[0].labels.tolist() == [7]
        assert setup.link.restarts == 1
    finally:
        setup.link.stop()


def test_an_address_that_cannot_be_reached_is_named_in_the_log(setup, caplog):
    with caplog.at_level(logging.ERROR):
        setup.connector.say(Refused("ConnectionError: 10.0.0.9:6379"))
        setup.connector.hang_up()
        assert setup.connectors.processes[0].ended.wait(WAIT_S)
    (record,) = [one for one in caplog.records if one.message == "no cluster"]
    assert record.reason == "ConnectionError: 10.0.0.9:6379"


def test_a_cluster_that_shrinks_to_nothing_gets_no_batches(setup):
    deployed(setup)
    setup.connector.say(Replicas({BUNDLE.key: 0}))
    setup.until(lambda: setup.link.running == {BUNDLE.key: 0})
    with pytest.raises(ClusterError, match="no replica"):
        setup.link.compute(BUNDLE.key, Mode.SPLIT, BATCH)


def test_the_load_is_reported_with_half_of_the_time_of_calls(setup):
    deployed(setup)
    outcome = setup.compute()
    call = setup.connector.batches.get(timeout=WAIT_S)
    setup.now += 0.5
    setup.connector.say(Found(call.call, [one_object(7)], BY))
    outcome.result(WAIT_S)
    setup.link.report(BUNDLE.key, queue_s=0.25, within_s=1.0)
    setup.link.retire(BUNDLE.key)
    said = [setup.connector.others.get(timeout=WAIT_S) for _ in range(3)]
    assert said == [BUNDLE, Report(BUNDLE.key, Load(0.25, 0.25)), Retire(BUNDLE.key)]


def test_figures_of_replicas_that_come_and_go_are_bounded(setup):
    deployed(setup)
    for number in range(KEPT_REPLICAS + 3):
        setup.answered(ReplicaFacts(f"r{number}", "node1", 1.0))
    assert len(setup.link.replicas) == len(setup.link.batches) == KEPT_REPLICAS
    assert "r0" not in setup.link.replicas


def test_stopping_ends_the_connector_and_fails_what_is_under_way():
    setup = Setup()
    deployed(setup)
    outcome = setup.compute()
    setup.connector.batches.get(timeout=WAIT_S)
    setup.link.stop()
    with pytest.raises(ClusterError):
        outcome.result(WAIT_S)
    assert isinstance(setup.connector, FakeConnector) and setup.connectors.processes[0].ended.wait(WAIT_S)
