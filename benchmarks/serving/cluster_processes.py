"""The processes of a daemon with a Ray of its own, as the machine shows them."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from benchmarks.harness.processes import ServerProcess
from splitnet.errors import ConfigError

CONNECTOR, REPLICA, HEAD = "cloud_server.cluster.connector", "ServeReplica", "gcs_server"
READY_S = 120.0
WARM_S = 3.0  # after a replica's process is there, until it is warm
PAUSE_S = 0.2


def below(server: ServerProcess, name: str) -> list[psutil.Process]:
    """Return the processes below a daemon whose title or command has a word."""
    try:
        return [one for one in psutil.Process(server.process.pid).children(recursive=True) if name in _title(one)]
    except psutil.Error:
        return []


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def until(is_so: Callable[[], bool], timeout_s: float) -> None:
    """Wait for what other processes do in their own time. ConfigError if they do not."""
    give_up_at = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > give_up_at:
            raise ConfigError("the replicas do not come or go: has the machine room for them?")
        time.sleep(PAUSE_S)


def until_ready(server: ServerProcess, replicas: int) -> None:
    """Wait until so many replicas have started and warmed up; the daemon listens before."""
    until(lambda: len(below(server, REPLICA)) >= replicas, READY_S)
    time.sleep(WARM_S if replicas else 0.0)
