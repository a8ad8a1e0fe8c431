"""The cluster as a daemon uses it: settings, lanes, figures."""

from __future__ import annotations

import threading

import pytest

from cloud_server.cluster import cluster as cluster_module
from cloud_server.cluster.cluster import Cluster, cluster_of
from cloud_server.cluster.line import ReplicaFacts
from cloud_server.cluster.link import ClusterConfig, ClusterLink
from cloud_server.cluster.messages import Replicas
from cloud_server.config import ServeConfig
from cloud_server.engine import Engine
from splitnet.errors import ConfigError
from tests.support.fake_connector import WAIT_S, Connectors
from tests.support.fake_replica import FakeReplica


class Lanes(Engine[bytes]):
    """Takes note of the lanes that it may use."""

    def __init__(self) -> None:
        super().__init__(8, 64)
        self.used: list[int] = []
        self.may_use_four = threading.Event()

    def use_lanes(self, lanes: int) -> None:
        self.used.append(lanes)
        if lanes == 4:
            self.may_use_four.set()


def test_without_the_setting_there_is_no_cluster():
    assert cluster_of(ServeConfig()) is None


def test_without_ray_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(cluster_module, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r'--cluster needs Ray: pip install "slimsplit\[cluster\]"'):
        cluster_of(ServeConfig(cluster="local"))


@pytest.mark.parametrize(("least", "most", "lanes"), [(2, 0, 4), (2, 8, 16), (4, 2, 8)])
def test_there_are_two_lanes_for_each_replica_that_may_be(monkeypatch, least, most, lanes):
    monkeypatch.setattr(cluster_module, "find_spec", lambda name: object())
    config = ServeConfig(cluster="192.0.2.1:6379", cluster_replicas=least, cluster_max_replicas=most)
    found = cluster_of(config)
    assert found is not None and found.lanes == lanes


def test_shared_layers_and_replicas_exclude_one_another(tmp_path):
    with pytest.raises(ConfigError, match="leave --cluster out"):
        ServeConfig(cluster="local", plan=tmp_path)


@pytest.mark.parametrize("setting", [{"cluster_replicas": 0}, {"cluster_timeout_s": 0.0}, {"cluster_max_replicas": -1}])
def test_settings_out_of_range_are_named(setting):
    (name,) = setting
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} must be between"):
        ServeConfig(**setting)


def test_lanes_follow_the_replicas_and_figures_tell_of_them():
    connectors, engine, replicas = Connectors(), Lanes(), [FakeReplica("r1"), FakeReplica("r2")]
    link = ClusterLink(ClusterConfig("", 2, 2, WAIT_S), connectors)
    cluster = Cluster(link, lanes=4, falls_back=True)
    cluster.start(engine)
    try:
        connectors.next().say(Replicas([one.place for one in replicas]))
        assert engine.may_use_four.wait(WAIT_S)
        assert cluster.is_up
        assert {name: value for name, _, value, _ in cluster.figures()} == {
            "cluster_up": 1.0,
            "cluster_replicas": 2.0,
            "cluster_failures": 0.0,
            "cluster_restarts": 0.0,
        }
        assert engine.used[0] == 0
    finally:
        cluster.stop()
        for one in replicas:
            one.close()
    assert engine.used[-1] == 0 and not cluster.is_up


def test_a_replica_that_has_answered_is_a_row():
    link = ClusterLink(ClusterConfig())
    link._count(ReplicaFacts("r1", "node1", 512.0))
    link._count(ReplicaFacts("r1", "node1", 640.0))
    assert Cluster(link, 4, True).replicas() == [("r1", "node1", 640.0, 2)]
