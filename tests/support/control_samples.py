"""A small table and states for the tests of the controller."""

from __future__ import annotations

from typing import Any

from edge_client.adaptation.link import LinkEstimate
from edge_client.adaptation.point_table import PointCosts, PointTable
from edge_client.adaptation.policy import FrameContext
from edge_client.adaptation.prediction import SystemState
from edge_client.adaptation.spread import Spread
from splitnet.operating_point import Codec, OperatingPoint

SMALL = PointCosts(OperatingPoint(Codec.RANS, 1, 0), 16.0, 900, 1100, 20.0)
MIDDLE = PointCosts(OperatingPoint(Codec.RANS, 2, 2), 20.0, 2900, 3500, 40.0)
LARGE = PointCosts(OperatingPoint(Codec.RANS, 4, 4), 24.0, 4900, 5900, 80.0)
PICTURE = PointCosts(OperatingPoint(Codec.JPEG, 0, 75), 28.0, 24_900, 34_900, 10.0)
TABLE = PointTable((SMALL, MIDDLE, LARGE, PICTURE), local_ap=29.0, local_ms=400.0)
SPLIT_TABLE = PointTable((SMALL, MIDDLE, LARGE))


def context(age_ms: float = 0.0, deadline_ms: float = 200.0, **other: Any) -> FrameContext:
    """Return those of a frame that is so old at second 10."""
    given: dict[str, Any] = {"frame_id": 100, "capture_time": 10 - age_ms / 1000, "in_flight": 1, **other}
    return FrameContext(deadline_ms=deadline_ms, **given)


def state(mbps: float | None = 10.0, **other: Any) -> SystemState:
    """Return a state with an idle link of some capacity, a quick and steady server and ten frames a second."""
    link = {
        "capacity_bps": None if mbps is None else mbps * 1e6,
        "rtt_min_ms": None if mbps is None else 30.0,
        "app_limited": False,
    }
    link.update({key: other.pop(key) for key in list(other) if key in LinkEstimate.__dataclass_fields__})
    defaults: dict[str, Any] = {"server_ms": Spread(10.0, 10.0), "frame_interval_ms": 100.0}
    return SystemState(link=LinkEstimate(**link), **{**defaults, **other})
