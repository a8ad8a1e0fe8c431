"""Predictions of a frame at each operating point, from what is known at one moment. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from edge_client.adaptation.link import MESSAGE_OVERHEAD_BYTES, LinkEstimate
from edge_client.adaptation.point_table import PointCosts
from edge_client.adaptation.policy import MAX_IN_FLIGHT, LatencyBreakdown

CAUTION = 1.25  # times the deviation that nine of ten frames stay below: room for what is not foreseen


class Spread(NamedTuple):
    """A figure that varies: what to expect, and what nine of ten stay below."""

    expected: float = 1.0
    p90: float = 1.0


NOMINAL = Spread()
UNKNOWN_SERVER_MS = Spread(15.0, 25.0)  # until the first answer


@dataclass(frozen=True)
class SystemState:
    """All that a decision rests on. Kinds of work are those of `table.work_kind`."""

    link: LinkEstimate = field(default_factory=LinkEstimate)
    encode_load: Mapping[str, Spread] = field(default_factory=dict)  # time over nominal time, by kind of work
    size_load: Mapping[str, Spread] = field(default_factory=dict)  # bytes over the table's median, by codec
    server_ms: Spread = UNKNOWN_SERVER_MS
    frame_interval_ms: float | None = None  # of the source


class Prediction(NamedTuple):
    """The prediction for one row. Times in milliseconds. (A tuple: there is one for each row and frame.)"""

    row: PointCosts
    wire_bytes: float  # usual for this camera, with the message around the payload
    wait_ms: float
    encode_ms: float
    queue_ms: float  # what frames sent before still take of the link
    own_ms: float  # what this one takes
    propagate_ms: float
    server_ms: float
    cautious_ms: float  # the total that is rarely exceeded
    score: float  # accuracy per frame of the source

    @property
    def fresh_ms(self) -> float:
        """The expected total of a frame captured just now, with nothing in its way."""
        return self.encode_ms + self.own_ms + self.propagate_ms + self.server_ms

    @property
    def total_ms(self) -> float:
        """The expected total."""
        return self.wait_ms + self.queue_ms + self.fresh_ms

    @property
    def breakdown(self) -> LatencyBreakdown:
        """Where that time is expected to go."""
        transmit_ms = self.queue_ms + self.own_ms
        return LatencyBreakdown(self.wait_ms, self.encode_ms, transmit_ms, self.propagate_ms, self.server_ms)


def predict(rows: Sequence[PointCosts], wait_ms: float, budget_ms: float, state: SystemState) -> list[Prediction]:
    """Return the prediction for a frame that is wait_ms old, for each row.

    Encoding, size, link and server vary independently, so their p90s do not coincide: the cautious total adds the root
    of the sum of their squares to the expected one. A frame that takes longer delays the next one: what budget_ms, the
    time from capture to deadline, does not leave for this counts against the pace.
    """
    link, server, interval_ms = state.link, state.server_ms, state.frame_interval_ms
    byte_ms = 8000 / link.capacity_bps if link.capacity_bps else 0.0
    queued_ms, propagate_ms = link.queued_bytes * byte_ms, link.rtt_min_ms or 0.0
    server_ms = server.expected
    back_ms = propagate_ms + server_ms
    common_square = link.late_ms**2 + (server.p90 - server_ms) ** 2
    # This loop is most of what a decision costs: no calls in it that a comparison can do.
    predictions = []
    for row in rows:
        load, size = state.encode_load.get(row.kind, NOMINAL), state.size_load.get(row.codec)
        usual_bytes = row.bytes_p50 * size.expected if size else row.bytes_p50
        most_bytes = row.bytes_p50 * size.p90 if size else row.bytes_p90
        encode_ms = row.encode_ms * load.expected
        queue_ms = queued_ms - encode_ms if queued_ms > encode_ms else 0.0  # it goes on draining
        wire_bytes = usual_bytes + MESSAGE_OVERHEAD_BYTES
        own_ms = wire_bytes * byte_ms
        encode_deviation_ms = row.encode_ms * load.p90 - encode_ms
        own_deviation_ms = (most_bytes - usual_bytes) * byte_ms
        deviation_ms = CAUTION * math.sqrt(encode_deviation_ms**2 + own_deviation_ms**2 + common_square)
        alone_ms = encode_ms + own_ms + back_ms
        cautious_ms = wait_ms + queue_ms + alone_ms + deviation_ms
        cycle_ms = max(encode_ms, own_ms, alone_ms / MAX_IN_FLIGHT)
        if cautious_ms + deviation_ms > budget_ms:
            cycle_ms += min(deviation_ms, cautious_ms + deviation_ms - budget_ms)
        share = 1.0 if interval_ms is None or cycle_ms <= interval_ms else interval_ms / cycle_ms
        score = row.ap * share
        predictions.append(
            Prediction(
                row, wire_bytes, wait_ms, encode_ms, queue_ms, own_ms, propagate_ms, server_ms, cautious_ms, score
            )
        )
    return predictions
