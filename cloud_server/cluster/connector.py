"""The process between a daemon and a Ray cluster: all of Ray is here, so that none of its faults can reach a stream.

It lets Ray start replicas, keep as many as are needed, and replace those that die, and tells the daemon where they are.

Ray ends a process that loses the head of its cluster, and its calls have hung when replicas died. So the daemon talks
to a process of its own, which it can lose: `link` starts another, as `python -m cloud_server.cluster.connector FD`.
FD is the number of an inherited socket.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import ray
from ray import serve
from ray.serve._private.common import DeploymentID
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE
from ray.serve.exceptions import RayServeException

from cloud_server.cluster.messages import (
    Connected,
    Deploy,
    Deployed,
    Refused,
    Replicas,
    Reply,
    Report,
    Request,
    Retire,
    Start,
)
from cloud_server.cluster.replica import COORDINATOR, NAMESPACE, Coordinator, Replica
from cloud_server.cluster.scaling import Scaling

HEALTH_S, HEALTH_TIMEOUT_S = 1.0, 1.0
STATUS_S = 0.5
DEPLOYMENT, STOPPING = "replica", "STOPPING"
PASSING = (RayServeException, ray.exceptions.RayError, TimeoutError, KeyError)  # of a cluster that changes
LARGEST_BATCH = 8  # that a replica warms up
CONTROL_TIMEOUT_S = 30.0
LOCAL_CPUS = 1024  # that a Ray of this machine counts: how many replicas there are is the daemon's to say, not Ray's


class Connector:
    """Serves one daemon."""

    def __init__(self, connection: Connection, start: Start) -> None:
        """Take the pipe to the daemon, and what it said first."""
        self._connection = connection
        self._start = start
        self._sending = threading.Lock()
        self._deployed: dict[str, Deploy] = {}
        self._scaling: dict[str, Scaling] = {}
        self._awaited: set[str] = set()  # bundles whose replicas have not all come yet
        self._control = ThreadPoolExecutor(1, thread_name_prefix="control")

    def run(self) -> None:
        """Join or start the cluster, then do what the daemon says until it hangs up."""
        try:
            self._join()
        except Exception as error:
            self._send(Refused(_reason(error)))
            return
        self._send(Connected(ray.__version__))
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        with suppress(EOFError, OSError):
            while True:
                self._take(self._connection.recv())

    def _join(self) -> None:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
        if self._start.address:
            ray.init(address=self._start.address, namespace=NAMESPACE, **quiet)
        else:  # on the loopback interface only: Ray lets in whoever reaches it. "local": never one that runs already
            own = {"address": "local", "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
            ray.init(namespace=NAMESPACE, num_cpus=LOCAL_CPUS, **own, **quiet)
        serve.start(proxy_location="Disabled")
        actor = ray.remote(num_cpus=0, max_restarts=-1)(Coordinator)
        self._coordinator = actor.options(
            name=COORDINATOR, namespace=NAMESPACE, lifetime="detached", get_if_exists=True
        ).remote()

    def _take(self, request: Request) -> None:
        if isinstance(request, Deploy):
            self._control.submit(self._deploy, request)
        elif isinstance(request, Report):
            self._control.submit(self._rescale, request)
        else:
            self._control.submit(self._retire, request)

    def _deploy(self, bundle: Deploy) -> None:
        try:
            self._supply(bundle)
            if not self._is_running(bundle.key):
                self._run_app(bundle)
            self._deployed[bundle.key] = bundle
            self._scaling[bundle.key] = Scaling(self._start.least_replicas, self._start.most_replicas)
            self._awaited.add(bundle.key)
        except Exception as error:
            self._send(Deployed(bundle.key, _reason(error)))

    def _supply(self, bundle: Deploy) -> None:
        """Give the coordinator a bundle's files, unless it has them."""
        if not self._asked(self._coordinator.has.remote(bundle.key)):
            self._asked(self._coordinator.put.remote(bundle.key, dict(bundle.files)))

    def _is_running(self, key: str) -> bool:
        found = serve.status().applications.get(key)
        return found is not None and found.status.value in ("RUNNING", "DEPLOYING")

    def _run_app(self, bundle: Deploy) -> None:
        """Let Ray start replicas and keep them; they come by themselves, or `_watch` sees why not."""
        threads = int(bundle.tuning.get("threads") or 1)
        deployment = serve.deployment(
            name=DEPLOYMENT,
            num_replicas=self._start.least_replicas,
            health_check_period_s=HEALTH_S,
            health_check_timeout_s=HEALTH_TIMEOUT_S,
            graceful_shutdown_wait_loop_s=0.1,
            graceful_shutdown_timeout_s=2.0,
            ray_actor_options={"num_cpus": threads, "memory": bundle.memory_bytes},
        )(Replica)
        app = deployment.bind(bundle.key, dict(bundle.tuning), LARGEST_BATCH)
        target = serve.RunTarget(app, bundle.key, route_prefix=None, external_scaler_enabled=True)
        serve.run_many([target], wait_for_applications_running=False)

    def _retire(self, bundle: Retire) -> None:
        """Forget a bundle. Its replicas go unless another daemon still sends them batches."""
        self._deployed.pop(bundle.key, None)
        self._scaling.pop(bundle.key, None)
        self._awaited.discard(bundle.key)
        with suppress(*PASSING):
            if not self._asked(self._coordinator.withdraw.remote(bundle.key, self._start.front)):
                self._delete(bundle.key)

    def _delete(self, key: str) -> None:
        self._asked(self._coordinator.drop.remote(key))
        serve.delete(key, _blocking=False)

    def _rescale(self, report: Report) -> None:
        """Take note of a load, and let Ray keep as many replicas as that of all daemons asks for."""
        if report.key not in self._deployed:
            return
        with suppress(*PASSING):  # the next report tries again
            load = self._asked(self._coordinator.report.remote(report.key, self._start.front, report.load))
            states = serve.status().applications[report.key].deployments[DEPLOYMENT].replica_states
            there = sum(count for state, count in states.items() if state != STOPPING)
            wanted = self._scaling[report.key].wanted(there, load, time.monotonic())
            if wanted != there:
                controller = ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
                self._asked(controller.update_deployment_replicas.remote(DeploymentID(DEPLOYMENT, report.key), wanted))

    def _watch(self) -> None:
        """Tell the daemon where replicas are, supply a coordinator that has lost its files, and let unused ones go."""
        while True:
            with suppress(*PASSING):
                places = self._asked(self._coordinator.places.remote())
                self._send(Replicas(places))
                self._settle(Counter(place.key for place in places))
                for bundle in list(self._deployed.values()):
                    self._supply(bundle)
                for key in self._asked(self._coordinator.unused.remote()):
                    self._delete(key)
            time.sleep(STATUS_S)

    def _settle(self, running: Mapping[str, int]) -> None:
        """Tell of the bundles whose replicas are all there, and of those whose replicas cannot be."""
        statuses = serve.status().applications if self._awaited else {}
        for key in list(self._awaited):
            refused = _refusal(statuses[key]) if key in statuses else ""
            if running[key] >= self._start.least_replicas or refused:
                self._awaited.discard(key)
                self._send(Deployed(key, refused))

    def _asked(self, reference: Any) -> Any:
        return ray.get(reference, timeout=CONTROL_TIMEOUT_S)

    def _send(self, reply: Reply) -> None:
        with self._sending, suppress(OSError):  # the daemon is gone: `run` sees it, too
            self._connection.send(reply)


def _refusal(application: Any) -> str:
    """Return why a bundle has no replicas and will have none; empty if it may still have some."""
    if application.status.value not in ("DEPLOY_FAILED", "UNHEALTHY"):
        return ""
    messages = [application.message, *(one.message for one in application.deployments.values())]
    lines = [line.strip() for message in messages for line in message.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"


def _reason(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1].strip() if lines else 'no reason given'}"


def main() -> int:
    """Serve the daemon at the other end of the socket whose number is the argument."""
    connection = Connection(int(sys.argv[1]))
    start = connection.recv()
    connector = Connector(connection, start)
    connector.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
