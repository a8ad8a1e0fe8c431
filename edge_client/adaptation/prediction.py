"""Predictions of a frame at every operating point of a table at once, from what is known at one moment. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_client.adaptation.link import MESSAGE_OVERHEAD_BYTES, LinkEstimate
from edge_client.adaptation.point_table import PointCosts
from edge_client.adaptation.policy import MAX_IN_FLIGHT, LatencyBreakdown
from edge_client.adaptation.shared_link import Others
from edge_client.adaptation.sizes import SizeEstimate, family
from edge_client.adaptation.spread import NOMINAL, Spread
from splitnet.operating_point import Codec

NORMAL_P90 = 1.2816  # the p90 of a normal distribution, in standard deviations
LEAST_DEVIATION_MS = 1.0

Figures = NDArray[np.float64]  # (rows of the table,)


UNKNOWN_SERVER_MS = Spread(15.0, 25.0)  # until the first answer


@dataclass(frozen=True)
class SystemState:
    """All that a decision rests on. Kinds of work are those of `point_table.work_kind`."""

    link: LinkEstimate = field(default_factory=LinkEstimate)
    encode_load: Mapping[str, Spread] = field(default_factory=dict)  # time over nominal time, by kind of work
    stale: frozenset[str] = frozenset()  # kinds of work whose load was not measured lately, but taken from others
    sizes: SizeEstimate = field(default_factory=SizeEstimate)
    server_ms: Spread = UNKNOWN_SERVER_MS
    frame_interval_ms: float | None = None  # of the source
    codecs: frozenset[Codec] | None = None  # that the server takes; None: all that there are
    others: Others = field(default_factory=Others)  # cameras that share link and encoder


@dataclass(frozen=True)
class Predictions:
    """What is expected of a frame at each row of the table. Times in milliseconds."""

    wire_bytes: Figures  # usual for this camera, with the message around the payload
    encode_ms: Figures
    queue_ms: Figures  # what frames sent before still take of the link
    own_ms: Figures  # what this one takes of it
    fresh_ms: Figures  # the total of a frame captured just now, with nothing in its way
    total_ms: Figures
    deviation_ms: Figures  # the standard deviation of the total
    wait_ms: float
    propagate_ms: float
    server_ms: float
    encoder_share: float = 1.0  # what this camera may use of the encoder's time, 0..1
    link_share: float = 1.0  # and of the link's

    def breakdown(self, row: int) -> LatencyBreakdown:
        """Return where the time is expected to go at one row."""
        transmit_ms = float(self.queue_ms[row] + self.own_ms[row])
        return LatencyBreakdown(
            self.wait_ms, float(self.encode_ms[row]), transmit_ms, self.propagate_ms, self.server_ms
        )

    def frame_share(self, interval_ms: float | None) -> Figures:
        """Return the share of the source's frames that each row keeps up with, where encoder and link take turns."""
        busy_ms = np.maximum(self.encode_ms / self.encoder_share, self.own_ms / self.link_share)
        cycle_ms = np.maximum(busy_ms, self.fresh_ms / MAX_IN_FLIGHT)
        return np.minimum(1.0, (interval_ms or np.inf) / cycle_ms)


class Predictor:
    """Predicts for the rows of one table. With arrays: a decision is made for every frame, on a slow processor."""

    def __init__(self, rows: Sequence[PointCosts]) -> None:
        self._kinds, self._kind_of = _numbered([row.kind for row in rows])
        families, self._family_of = _numbered([family(row) for row in rows])
        self._of_families = [next(row for row in rows if family(row) == one) for one in families]
        self._encode_ms = np.array([row.encode_ms for row in rows])
        self._bytes_p50 = np.array([row.bytes_p50 for row in rows])
        self._table_p90 = np.array([row.bytes_p90 / row.bytes_p50 for row in rows])

    def predict(self, wait_ms: float, state: SystemState) -> Predictions:
        """Return the predictions for a frame that is wait_ms old.

        Encoding, size, link and server vary independently, so the variance of the total is the sum of theirs.
        """
        link, server = state.link, state.server_ms
        byte_ms = 8000 / link.capacity_bps if link.capacity_bps else 0.0
        loads = np.array([state.encode_load.get(kind, NOMINAL) for kind in self._kinds]).T
        encode_ms, encode_p90_ms = self._encode_ms * loads.take(self._kind_of, axis=1)
        usual, size, size_p90 = state.sizes.factors(self._of_families).take(self._family_of, axis=1)
        size_p90 = np.where(np.isnan(size_p90), self._table_p90, size_p90)
        propagate_ms = link.rtt_min_ms or 0.0
        wire_bytes = self._bytes_p50 * usual + MESSAGE_OVERHEAD_BYTES
        own_ms = (self._bytes_p50 * size + MESSAGE_OVERHEAD_BYTES) * byte_ms
        queue_ms = np.maximum(0.0, link.queued_bytes * byte_ms - encode_ms)  # it goes on draining meanwhile
        encode_late_ms, size_late_ms = encode_p90_ms - encode_ms, (size_p90 - size) * self._bytes_p50 * byte_ms
        square = encode_late_ms * encode_late_ms + size_late_ms * size_late_ms
        square += link.late_ms**2 + (server.p90 - server.expected) ** 2
        fresh_ms = encode_ms + own_ms + (propagate_ms + server.expected)
        return Predictions(
            wire_bytes=wire_bytes,
            encode_ms=encode_ms,
            queue_ms=queue_ms,
            own_ms=own_ms,
            fresh_ms=fresh_ms,
            total_ms=wait_ms + queue_ms + fresh_ms,
            deviation_ms=np.maximum(LEAST_DEVIATION_MS, np.sqrt(square) / NORMAL_P90),
            wait_ms=wait_ms,
            propagate_ms=propagate_ms,
            server_ms=server.expected,
            encoder_share=state.others.encoder_share,
            link_share=state.others.link_share(link.capacity_bps),
        )


Name = TypeVar("Name")


def _numbered(names: Sequence[Name]) -> tuple[list[Name], NDArray[np.intp]]:
    """Return the different names, and for each name its place among them."""
    different = list(dict.fromkeys(names))
    return different, np.array([different.index(name) for name in names], np.intp)
