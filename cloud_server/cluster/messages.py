"""What the daemon and its connector tell one another, over a pipe that nobody else holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cloud_server.cluster.scaling import Load
from cloud_server.compute.decoded_frame import DecodedFrame
from splitnet.detections import Detections
from splitnet.operating_point import Mode


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
class Compute:
    """A batch."""

    call: int
    key: str
    mode: Mode
    frames: Sequence[DecodedFrame]
    timeout_s: float


@dataclass(frozen=True)
class Report:
    """What this daemon asks of a bundle's replicas now."""

    key: str
    load: Load


Request = Deploy | Retire | Compute | Report


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
class ReplicaFacts:
    """A replica as it describes itself with every answer."""

    replica: str
    node: str
    memory_mb: float  # resident


@dataclass(frozen=True)
class Found:
    """What a batch shows."""

    call: int
    detections: Sequence[Detections]
    by: ReplicaFacts


@dataclass(frozen=True)
class Failed:
    """A batch that was not computed."""

    call: int
    reason: str
    late: bool  # nobody has answered in time; else somebody said no


@dataclass(frozen=True)
class Replicas:
    """How many replicas of each bundle run now."""

    running: Mapping[str, int]


Reply = Connected | Refused | Deployed | Found | Failed | Replicas
