"""What the page and the metrics are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cloud_server.fleet.findings import findings
from cloud_server.fleet.fleet import Fleet
from cloud_server.fleet.rows import row_of


class Bundle(NamedTuple):
    """A bundle that is served."""

    name: str
    digest: str
    memory_mb: float  # of its weights


class Gauge(NamedTuple):
    """A figure from another part of the server, for the metrics."""

    name: str  # without "slimsplit_"
    help: str
    value: float
    is_counter: bool = False


class Replica(NamedTuple):
    """A replica of a bundle on a cluster."""

    id: str
    node: str
    memory_mb: float  # resident
    batches: int


@dataclass(frozen=True)
class ServerFacts:
    """A server, as the page may see it. Everything is called on the event loop, and is quick."""

    software: str  # name and version
    listen: str  # HOST:PORT for devices
    fleet: Fleet
    queue_depth: Callable[[], int]  # frames that wait
    batch_sizes: Callable[[], Mapping[int, int]]  # how many batches there were of each size
    bundles: Callable[[], Sequence[Bundle]]
    gauges: Callable[[], Sequence[Gauge]] = lambda: ()
    replicas: Callable[[], Sequence[Replica] | None] = lambda: None  # None: this daemon computes itself


def overview(facts: ServerFacts, now: float) -> dict[str, Any]:
    """Return the server, what is wrong, and a row for every device, as JSON values."""
    rows = [row_of(device, now) for device in facts.fleet.devices]
    return {
        "server": {
            "software": facts.software,
            "listen": facts.listen,
            "draining": facts.fleet.is_draining,
            "queue": facts.queue_depth(),
            "bundles": [{"name": one.name, "digest": one.digest[:12]} for one in facts.bundles()],
            "replicas": None if (found := facts.replicas()) is None else [one._asdict() for one in found],
            "sessions": sum(facts.fleet.open_sessions.values()),
            "camera_fps": round(sum(row["camera_fps"] for row in rows), 1),
            "kbps": round(sum(row["kbps"] for row in rows), 1),
        },
        "findings": [one.to_json() for one in findings(facts.fleet, rows, now, facts.listen)],
        "devices": rows,
    }
