"""The cluster as a daemon uses it: bundles for replicas, as many lanes as there are places, and figures of all."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cloud_server.cluster.cluster_model import ClusterModel
from cloud_server.cluster.link import ClusterConfig, ClusterLink
from cloud_server.cluster.scaling import PLACES
from cloud_server.compute.bundle_model import BundleModel
from cloud_server.config import LOCAL_CLUSTER, ServeConfig
from cloud_server.engine import Engine
from splitnet.errors import ConfigError

REPORT_S = 1.0


def cluster_of(config: ServeConfig) -> Cluster | None:
    """Return the cluster of the settings, not connected yet; None without one. ConfigError if Ray is missing."""
    if config.cluster is None:
        return None
    if find_spec("ray") is None:
        raise ConfigError('--cluster needs Ray: pip install "slimsplit[cluster]", here and wherever replicas shall run')
    address = "" if config.cluster == LOCAL_CLUSTER else config.cluster
    most = max(config.cluster_replicas, config.cluster_max_replicas or config.cluster_replicas)
    link = ClusterLink(ClusterConfig(address, config.cluster_replicas, most, config.cluster_timeout_s))
    return Cluster(link, PLACES * most, falls_back=config.cluster_fallback == "embedded")


class Cluster:
    """The link to the replicas, and who uses it."""

    def __init__(self, link: ClusterLink, lanes: int, falls_back: bool) -> None:
        """Take the link, not started; the most batches at once; and whether to compute here while replicas are away."""
        self._link = link
        self.lanes = lanes
        self._falls_back = falls_back
        self._engine: Engine[Any] | None = None
        self._stop = threading.Event()
        self._models: weakref.WeakSet[ClusterModel] = weakref.WeakSet()

    def start(self, engine: Engine[Any]) -> None:
        """Begin to connect, and let the engine have as many lanes as replicas have places; returns at once."""
        self._engine = engine
        self._link.on_change = self._use_lanes
        self._use_lanes()
        self._link.start()
        threading.Thread(target=self._report, name="cluster load", daemon=True).start()

    def stop(self) -> None:
        """Let the cluster go: one of this machine ends, replicas elsewhere stay for other daemons."""
        self._stop.set()
        self._link.stop()

    def model(self, own: BundleModel, folder: Path) -> ClusterModel:
        """Return a bundle that replicas compute, once they have loaded it, or have been waited for in vain.

        The engine's lanes serve other bundles meanwhile. BundleError if its folder has changed since it was loaded.
        """
        model = ClusterModel(own, folder, self._link, self._falls_back)
        self._models.add(model)
        model.deploy()
        return model

    @property
    def is_up(self) -> bool:
        """Whether batches go to replicas."""
        return self._link.is_up

    @property
    def running(self) -> Mapping[str, int]:
        """How many replicas of each bundle run."""
        return dict(self._link.running)

    def figures(self) -> list[tuple[str, str, float, bool]]:
        """Return name and meaning of each figure of the whole, its value, and whether it only grows."""
        link = self._link
        return [
            ("cluster_up", "1 while replicas compute, 0 while this daemon does", float(self.is_up), False),
            ("cluster_replicas", "Replicas that run, of all bundles", float(sum(link.running.values())), False),
            ("cluster_failures", "Batches that replicas did not answer", float(link.failures), True),
            ("cluster_restarts", "Connections to the cluster that were made anew", float(link.restarts), True),
        ]

    def replicas(self) -> list[tuple[str, str, float, int]]:
        """Return name, node, resident megabytes and batches of each replica that has answered of late."""
        replicas = list(self._link.replicas.values())
        return [(one.replica, one.node, one.memory_mb, self._link.batches[one.replica]) for one in replicas]

    def _use_lanes(self) -> None:
        """While nobody answers, batches are computed here, one at a time."""
        if self._engine is not None:
            replicas = sum(self._link.running.values()) if self._link.is_up else 0
            self._engine.use_lanes(PLACES * replicas)

    def _report(self) -> None:
        while not self._stop.wait(REPORT_S):
            assert self._engine is not None
            queue_s = self._engine.expected_s if self._engine.depth else 0.0
            for model in _sorted(self._models):
                self._link.report(model.key, queue_s, REPORT_S)


def _sorted(models: weakref.WeakSet[ClusterModel]) -> Sequence[ClusterModel]:
    return sorted(models, key=lambda model: model.key)
