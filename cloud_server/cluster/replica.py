"""What runs on the cluster: a replica of a bundle's server half, and the coordinator that hands bundles to replicas.

Both are classes of this package that Ray makes elsewhere: SlimSplit must be installed there, too, in this version.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cloud_server.cluster.door import Door
from cloud_server.cluster.line import Place, ReplicaFacts
from cloud_server.cluster.scaling import Load

COORDINATOR = "slimsplit-coordinator"
NAMESPACE = "slimsplit"
TIMEOUT_S = 60.0  # of a call to the coordinator
HEARD_S = 5.0  # for so long what it has heard counts
UNUSED_S = 60.0  # until replicas go whose daemons are gone


class Coordinator:
    """Holds the files of bundles for replicas that start later, knows where replicas answer, and adds up what is asked.

    What it is told counts for a while: replicas and daemons repeat it every second. So it may be lost and made anew.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._files: dict[str, Any] = {}  # references into Ray's object store
        self._reports: dict[tuple[str, str], tuple[float, Load]] = {}
        self._places: dict[str, tuple[float, Place]] = {}
        self._used: dict[str, float] = {}  # bundles, and when a daemon has asked for them last

    def has(self, key: str) -> bool:
        """Return whether a bundle's files are here."""
        return key in self._files

    def put(self, key: str, files: Mapping[str, bytes]) -> None:
        """Keep a bundle's files, once for the whole cluster."""
        import ray

        self._files[key] = ray.put(dict(files))
        self._used[key] = self._clock()

    def files(self, key: str) -> Any:
        """Return a reference to a bundle's files, in a list: alone it would be followed. KeyError without them."""
        return [self._files[key]]

    def report(self, key: str, front: str, load: Load) -> Load:
        """Take note of what a daemon asks of a bundle's replicas; returns what all of them ask."""
        now = self._used[key] = self._clock()
        self._reports[key, front] = (now, load)
        self._reports = {who: (at, one) for who, (at, one) in self._reports.items() if now - at < HEARD_S}
        asked = [one for (of, _), (_, one) in self._reports.items() if of == key]
        return sum(asked, Load())

    def withdraw(self, key: str, front: str) -> bool:
        """Take note that a daemon needs a bundle no more; returns whether another one does."""
        self._reports.pop((key, front), None)
        return any(of == key for of, _ in self._reports)

    def drop(self, key: str) -> None:
        """Forget a bundle whose replicas go."""
        self._files.pop(key, None)
        self._used.pop(key, None)
        self._places = {name: found for name, found in self._places.items() if found[1].key != key}

    def unused(self) -> list[str]:
        """Return the bundles that no daemon has asked for in a while: of daemons that are gone."""
        now = self._clock()
        return [key for key, at in self._used.items() if now - at > UNUSED_S]

    def arrive(self, place: Place) -> None:
        """Take note that a replica is there, still."""
        self._places[place.replica] = (self._clock(), place)
        self._used.setdefault(place.key, self._clock())

    def leave(self, replica: str) -> None:
        """Take note that a replica goes."""
        self._places.pop(replica, None)

    def places(self) -> list[Place]:
        """Return where the replicas answer that were heard of late."""
        now = self._clock()
        self._places = {name: (at, one) for name, (at, one) in self._places.items() if now - at < HEARD_S}
        return [one for _, one in self._places.values()]


class Replica:
    """Computes whole batches of one bundle, as the daemon would itself. They come by its door, not by Ray."""

    def __init__(self, key: str, tuning: Mapping[str, Any], largest_batch: int) -> None:
        """Fetch the bundle, load it and warm it up. Whatever it raises becomes the reason why there is no replica."""
        import ray
        import torch

        from cloud_server.compute.bundle_model import BundleModel, choose_device
        from cloud_server.compute.tuning import Tuning
        from splitnet.bundle import load_server

        self._coordinator = ray.get_actor(COORDINATOR, namespace=NAMESPACE)
        (reference,) = ray.get(self._coordinator.files.remote(key), timeout=TIMEOUT_S)
        with tempfile.TemporaryDirectory(prefix="slimsplit-bundle-") as folder:
            for name, content in ray.get(reference, timeout=TIMEOUT_S).items():
                Path(folder, Path(name).name).write_bytes(content)
            model = BundleModel(load_server(Path(folder)), choose_device("auto"), Tuning(**tuning))
        torch.set_num_threads(max(1, int(tuning.get("threads") or 1)))
        model.prepare()
        for mode in model.modes:
            for size in (1, largest_batch):
                model.infer(mode, [model.blank(mode)] * size)
        self._door = Door(ray.util.get_node_ip_address(), model.infer, _own_facts())
        self._place = self._door.place(key)
        ray.get(self._coordinator.arrive.remote(self._place), timeout=TIMEOUT_S)

    def check_health(self) -> None:
        """Say that this replica is there, as Ray asks every second; raise if it will never answer again."""
        if self._door.is_stuck:
            raise RuntimeError("a batch does not end")
        self._coordinator.arrive.remote(self._place)

    def __del__(self) -> None:
        """Go in order: Ray calls this when there are too many replicas, or the bundle retires."""
        if hasattr(self, "_door"):  # else it has never been there
            self._coordinator.leave.remote(self._place.replica)
            self._door.close()


def _own_facts() -> Callable[[], ReplicaFacts]:
    import psutil
    from ray import get_runtime_context, serve

    replica, node = serve.get_replica_context().replica_id.unique_id, get_runtime_context().get_node_id()[:8]
    process = psutil.Process()
    return lambda: ReplicaFacts(replica, node, round(process.memory_info().rss / 1e6, 1))
