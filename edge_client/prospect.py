"""What is to be expected of a frame at each operating point, given what is known at one moment. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from edge_client.link import MESSAGE_OVERHEAD_BYTES, LinkEstimate
from edge_client.policy import Terms
from edge_client.table import Row

PLACES = 2  # frames under way at once, see `mailbox`
CAUTION = 1.25  # times the deviation that nine of ten frames stay below: room for what is not foreseen


@dataclass(frozen=True)
class Spread:
    """A figure that varies: what to expect, and what nine of ten stay below."""

    expected: float = 1.0
    p90: float = 1.0


NOMINAL = Spread()


@dataclass(frozen=True)
class Situation:
    """All that a decision rests on. Kinds of work are those of `table.work_kind`."""

    link: LinkEstimate = field(default_factory=LinkEstimate)
    encode_load: Mapping[str, Spread] = field(default_factory=dict)  # time over nominal time, by kind of work
    size_load: Mapping[str, Spread] = field(default_factory=dict)  # bytes over the table's median, by codec
    server_ms: Spread = Spread(15.0, 25.0)
    frame_interval_ms: float | None = None  # of the source


class Prospect(NamedTuple):
    """What is to be expected of one row. Times in milliseconds. (A tuple: there is one a row and frame.)"""

    row: Row
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
    def terms(self) -> Terms:
        """The expected terms."""
        transmit_ms = self.queue_ms + self.own_ms
        return Terms(self.wait_ms, self.encode_ms, transmit_ms, self.propagate_ms, self.server_ms)


def predict(rows: Sequence[Row], wait_ms: float, budget_ms: float, situation: Situation) -> list[Prospect]:
    """Return what is to be expected of a frame that is wait_ms old, for each row.

    Encoding, size, link and server vary independently, so their p90s do not come together: what the cautious
    total adds to the expected one is the root of the sum of their squares. A frame that takes longer delays the
    next one: what budget_ms, the time from capture to deadline, does not leave for this counts against the pace.
    """
    link, server = situation.link, situation.server_ms
    byte_ms = 8000 / link.capacity_bps if link.capacity_bps else 0.0
    queued_ms, propagate_ms = link.queued_bytes * byte_ms, link.rtt_min_ms or 0.0
    back_ms, server_deviation_ms = propagate_ms + server.expected, server.p90 - server.expected
    encode_loads, size_loads, interval_ms = situation.encode_load, situation.size_load, situation.frame_interval_ms
    prospects = []
    for row in rows:
        load, size = encode_loads.get(row.kind, NOMINAL), size_loads.get(row.codec)
        usual_bytes = row.bytes_p50 * size.expected if size else row.bytes_p50
        most_bytes = row.bytes_p50 * size.p90 if size else row.bytes_p90
        encode_ms = row.encode_ms * load.expected
        queue_ms = max(0.0, queued_ms - encode_ms)  # it goes on draining
        own_ms = (usual_bytes + MESSAGE_OVERHEAD_BYTES) * byte_ms
        deviation_ms = CAUTION * math.hypot(
            row.encode_ms * (load.p90 - load.expected),
            (most_bytes - usual_bytes) * byte_ms,
            link.late_ms,
            server_deviation_ms,
        )
        alone_ms = encode_ms + own_ms + back_ms
        cautious_ms = wait_ms + queue_ms + alone_ms + deviation_ms
        delaying_ms = min(deviation_ms, max(0.0, deviation_ms - (budget_ms - cautious_ms)))
        cycle_ms = max(encode_ms, own_ms, alone_ms / PLACES) + delaying_ms
        share = 1.0 if interval_ms is None or cycle_ms <= interval_ms else interval_ms / cycle_ms
        terms = (wait_ms, encode_ms, queue_ms, own_ms, propagate_ms, server.expected)
        prospects.append(Prospect(row, *terms, cautious_ms, row.ap * share))
    return prospects
