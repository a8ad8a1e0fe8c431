"""What runs on the cluster: a replica of a bundle's server half, and the coordinator that hands bundles to replicas.

Both are classes of this package that Ray makes elsewhere: SlimSplit must be installed there, too, in this version.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cloud_server.cluster.messages import ReplicaFacts
from cloud_server.cluster.scaling import Load
from cloud_server.compute.decoded_frame import DecodedFrame
from splitnet.detections import Detections
from splitnet.operating_point import Mode

COORDINATOR = "slimsplit-coordinator"
NAMESPACE = "slimsplit"
FILES_TIMEOUT_S = 60.0
REPORT_S = 5.0  # for so long what a daemon asks for counts


class Coordinator:
    """Holds the files of bundles for replicas that start later, and adds up what the daemons ask for."""

    def __init__(self) -> None:
        self._files: dict[str, Any] = {}  # references into Ray's object store
        self._reports: dict[tuple[str, str], tuple[float, Load]] = {}

    def has(self, key: str) -> bool:
        """Return whether a bundle's files are here."""
        return key in self._files

    def put(self, key: str, files: Mapping[str, bytes]) -> None:
        """Keep a bundle's files, once for the whole cluster."""
        import ray

        self._files[key] = ray.put(dict(files))

    def files(self, key: str) -> Any:
        """Return a reference to a bundle's files, in a list: alone it would be followed. KeyError without them."""
        return [self._files[key]]

    def report(self, key: str, front: str, load: Load, now: float) -> Load:
        """Take note of what a daemon asks of a bundle's replicas; returns what all of them ask."""
        self._reports[key, front] = (now, load)
        self._reports = {who: (at, one) for who, (at, one) in self._reports.items() if now - at < REPORT_S}
        asked = [one for (of, _), (_, one) in self._reports.items() if of == key]
        return sum(asked, Load())


class Replica:
    """Computes whole batches of one bundle, as the daemon would itself."""

    def __init__(self, key: str, tuning: Mapping[str, Any], largest_batch: int) -> None:
        """Fetch the bundle, load it and warm it up. Whatever it raises becomes the reason why there is no replica."""
        import ray
        import torch

        from cloud_server.compute.bundle_model import BundleModel, choose_device
        from cloud_server.compute.tuning import Tuning
        from splitnet.bundle import load_server

        coordinator = ray.get_actor(COORDINATOR, namespace=NAMESPACE)
        (reference,) = ray.get(coordinator.files.remote(key), timeout=FILES_TIMEOUT_S)
        with tempfile.TemporaryDirectory(prefix="slimsplit-bundle-") as folder:
            for name, content in ray.get(reference, timeout=FILES_TIMEOUT_S).items():
                Path(folder, Path(name).name).write_bytes(content)
            self._model = BundleModel(load_server(Path(folder)), choose_device("auto"), Tuning(**tuning))
        torch.set_num_threads(max(1, int(tuning.get("threads") or 1)))
        self._model.prepare()
        for mode in self._model.modes:
            for size in (1, largest_batch):
                self._model.infer(mode, [self._model.blank(mode)] * size)

    def infer(self, mode: Mode, frames: Sequence[DecodedFrame]) -> tuple[ReplicaFacts, list[Detections]]:
        """Return what each frame shows, and who has computed it."""
        return self._facts(), self._model.infer(mode, frames)

    def _facts(self) -> ReplicaFacts:
        import psutil
        from ray import get_runtime_context, serve

        replica = serve.get_replica_context().replica_id.unique_id
        memory_mb = psutil.Process().memory_info().rss / 1e6
        return ReplicaFacts(replica, get_runtime_context().get_node_id()[:8], round(memory_mb, 1))
