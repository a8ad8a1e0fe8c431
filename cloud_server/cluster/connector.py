"""The process between a daemon and a Ray cluster: all of Ray is here, so that none of its faults can reach a stream.

Ray ends a process that loses the head of its cluster, and its calls have hung when replicas died. So the daemon talks
to a process of its own, which it can lose: `link` starts another, as `python -m cloud_server.cluster.connector FD`.
FD is the number of an inherited socket.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import ray
from ray import serve
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from cloud_server.cluster.messages import (
    Compute,
    Connected,
    Deploy,
    Deployed,
    Failed,
    Found,
    Refused,
    Replicas,
    Reply,
    Report,
    Request,
    Retire,
    Start,
)
from cloud_server.cluster.replica import COORDINATOR, NAMESPACE, Coordinator, Replica
from cloud_server.cluster.scaling import PLACES, Scaling

HEALTH_S, HEALTH_TIMEOUT_S = 1.0, 1.0
CALLERS = 64  # threads that wait for replicas
STATUS_S = 1.0
LARGEST_BATCH = 8  # that a replica warms up
CONTROL_TIMEOUT_S = 30.0


class Connector:
    """Serves one daemon."""

    def __init__(self, connection: Connection, start: Start) -> None:
        """Take the pipe to the daemon, and what it said first."""
        self._connection = connection
        self._start = start
        self._sending = threading.Lock()
        self._handles: dict[str, DeploymentHandle[Any]] = {}
        self._deployed: dict[str, Deploy] = {}
        self._scaling: dict[str, Scaling] = {}
        self._wanted: dict[str, int] = {}  # replicas, as this daemon has asked for last
        self._running: dict[str, int] = {}
        self._callers = ThreadPoolExecutor(CALLERS, thread_name_prefix="call")
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
        else:  # on the loopback interface only: Ray lets in whoever reaches it
            ray.init(namespace=NAMESPACE, include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)
        serve.start(proxy_location="Disabled")
        actor = ray.remote(num_cpus=0, max_restarts=-1)(Coordinator)
        self._coordinator = actor.options(
            name=COORDINATOR, namespace=NAMESPACE, lifetime="detached", get_if_exists=True
        ).remote()

    def _take(self, request: Request) -> None:
        if isinstance(request, Compute):
            self._callers.submit(self._compute, request)
        elif isinstance(request, Deploy):
            self._control.submit(self._deploy, request)
        elif isinstance(request, Report):
            self._control.submit(self._rescale, request)
        else:
            self._control.submit(self._retire, request)

    def _compute(self, call: Compute) -> None:
        try:
            response = self._handles[call.key].infer.remote(call.mode, call.frames)
            try:
                by, found = response.result(timeout_s=call.timeout_s)
            except TimeoutError:
                response.cancel()
                self._send(Failed(call.call, f"no replica has answered within {call.timeout_s:g} s", late=True))
                return
            self._send(Found(call.call, found, by))
        except Exception as error:
            self._send(Failed(call.call, f"{type(error).__name__}: {error}".splitlines()[0], late=False))

    def _deploy(self, bundle: Deploy) -> None:
        try:
            self._supply(bundle)
            self._deployed[bundle.key] = bundle
            self._scaling[bundle.key] = Scaling(self._start.least_replicas, self._start.most_replicas)
            if self._running_app(bundle.key):
                self._handles[bundle.key] = serve.get_app_handle(bundle.key)
            else:
                self._run_app(bundle, self._start.least_replicas)
            self._send(Deployed(bundle.key))
        except Exception as error:
            self._send(Deployed(bundle.key, _reason(error)))

    def _supply(self, bundle: Deploy) -> None:
        """Give the coordinator a bundle's files, unless it has them."""
        if not ray.get(self._coordinator.has.remote(bundle.key), timeout=CONTROL_TIMEOUT_S):
            ray.get(self._coordinator.put.remote(bundle.key, dict(bundle.files)), timeout=CONTROL_TIMEOUT_S)

    def _running_app(self, key: str) -> bool:
        found = serve.status().applications.get(key)
        return found is not None and found.status.value in ("RUNNING", "DEPLOYING")

    def _run_app(self, bundle: Deploy, replicas: int) -> None:
        threads = int(bundle.tuning.get("threads") or 1)
        deployment = serve.deployment(
            name="replica",
            num_replicas=replicas,
            max_ongoing_requests=PLACES,
            health_check_period_s=HEALTH_S,
            health_check_timeout_s=HEALTH_TIMEOUT_S,
            graceful_shutdown_timeout_s=2.0,
            ray_actor_options={"num_cpus": threads, "memory": bundle.memory_bytes},
        )(Replica)
        app = deployment.bind(bundle.key, dict(bundle.tuning), LARGEST_BATCH)
        self._handles[bundle.key] = serve.run(app, name=bundle.key, route_prefix=None)
        self._wanted[bundle.key] = replicas

    def _retire(self, bundle: Retire) -> None:
        """Forget a bundle. Its replicas go if this daemon is the only one: others may still send them batches."""
        for mine in (self._handles, self._deployed, self._scaling, self._wanted):
            mine.pop(bundle.key, None)
        with suppress(Exception):
            if not self._start.address:
                serve.delete(bundle.key, _blocking=False)

    def _rescale(self, report: Report) -> None:
        bundle = self._deployed.get(report.key)
        if bundle is None:
            return
        with suppress(Exception):  # the next report tries again
            now = time.time()  # of all daemons that share the cluster
            asked = self._coordinator.report.remote(report.key, self._start.front, report.load, now)
            load = ray.get(asked, timeout=CONTROL_TIMEOUT_S)
            there = self._wanted.get(report.key) or max(1, self._running.get(report.key, 1))
            wanted = self._scaling[report.key].wanted(there, load, time.monotonic())
            if wanted != there:
                self._run_app(bundle, wanted)

    def _watch(self) -> None:
        """Tell the daemon now and then how many replicas run, and supply a coordinator that has lost its files."""
        while True:
            with suppress(RayServeException, ray.exceptions.RayError, TimeoutError, KeyError):
                self._running = _running_replicas(serve.status().applications)
                self._send(Replicas(self._running))
                for bundle in list(self._deployed.values()):
                    self._supply(bundle)
            time.sleep(STATUS_S)

    def _send(self, reply: Reply) -> None:
        with self._sending, suppress(OSError):  # the daemon is gone: `run` sees it, too
            self._connection.send(reply)


def _running_replicas(applications: Mapping[str, Any]) -> dict[str, int]:
    """Return how many replicas of each application run."""
    return {
        key: sum(
            count
            for deployment in application.deployments.values()
            for state, count in deployment.replica_states.items()
            if getattr(state, "value", state) == "RUNNING"
        )
        for key, application in applications.items()
    }


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
