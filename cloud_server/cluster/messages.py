"""What the daemon and its connector tell one another, over a pipe that nobody else holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloud_server.cluster.line import Place
from cloud_server.cluster.scaling import Load


@dataclass(frozen=True)
class Start:
    """The first message to a connector."""

    address: str  # of the cluster's head; empty: a Ray of this machine, which the connector starts and ends
    front: str  # this daemon among those that share the cluster
    least_replicas: int  # of each bundle
    most_replicas: int


@dataclass(frozen=True)
class Deploy:
    """A bundle that replicas shall compute, in a way."""

    key: str  # of the bundle and the way
    files: Mapping[str, bytes]
    tuning: Mapping[str, Any]
    memory_bytes: int  # that a replica needs


@dataclass(frozen=True)
class Retire:
    """A bundle that this daemon needs no more."""

    key: str


@dataclass(frozen=True)
class Report:
    """What this daemon asks of a bundle's replicas now."""

    key: str
    load: Load


Request = Deploy | Retire | Report


@dataclass(frozen=True)
class Connected:
    """There is a cluster."""

    ray: str  # its version


@dataclass(frozen=True)
class Refused:
    """There is no cluster, and why; the connector ends."""

    reason: str


@dataclass(frozen=True)
class Deployed:
    """Replicas of a bundle are there; or why they are not."""

    key: str
    refused: str = ""


@dataclass(frozen=True)
class Replicas:
    """Where the replicas of all bundles answer now."""

    places: Sequence[Place]


Reply = Connected | Refused | Deployed | Replicas
