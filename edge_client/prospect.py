"""What is to be expected of a frame at each operating point, given what is known at one moment. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from edge_client.link import MESSAGE_OVERHEAD_BYTES, LinkEstimate
from edge_client.policy import Terms
from edge_client.table import Row

PLACES = 2  # frames under way at once, see `mailbox`


@dataclass(frozen=True)
class Spread:
    """A figure that varies: what to expect, and what nine of ten stay below."""

    expected: float = 1.0
    p90: float = 1.0


@dataclass(frozen=True)
class Situation:
    """All that a decision rests on. Kinds of work are those of `table.work_kind`."""

    link: LinkEstimate = field(default_factory=LinkEstimate)
    encode_load: Mapping[str, Spread] = field(default_factory=dict)  # time over nominal time, by kind of work
    size_load: Mapping[str, Spread] = field(default_factory=dict)  # bytes over the table's median, by codec
    server_ms: Spread = Spread(15.0, 25.0)
    margin_ms: float = 0.0  # what predictions have lately been short by
    frame_interval_ms: float | None = None  # of the source
    carried_bytes: float = 0.0  # the largest frame lately acknowledged


@dataclass(frozen=True)
class Prospect:
    """What is to be expected of one row."""

    row: Row
    expected: Terms
    queue_ms: float  # of the expected transmission, what frames sent before are to blame for
    cautious_ms: float  # the total that is rarely exceeded
    share: float  # of the source's frames that can be served at this pace

    @property
    def score(self) -> float:
        """Accuracy per frame of the source."""
        return self.row.ap * self.share

    @property
    def fresh_ms(self) -> float:
        """The expected total of a frame captured just now, with an empty queue."""
        return self.expected.total_ms - self.expected.wait_ms - self.queue_ms


def predict(row: Row, wait_ms: float, situation: Situation) -> Prospect:
    """Return what is to be expected of a frame that is wait_ms old.

    The cautious total is the expected one and the root of the sum of the squared deviations of encoding, size,
    link and server, which vary independently: their p90s do not come together.
    """
    link = situation.link
    load = situation.encode_load.get(row.kind, _NOMINAL)
    size = situation.size_load.get(row.point.codec.value)
    wire_bytes = row.bytes_p50 * (size.expected if size else 1.0) + MESSAGE_OVERHEAD_BYTES
    most_bytes = (row.bytes_p50 * size.p90 if size else row.bytes_p90) + MESSAGE_OVERHEAD_BYTES
    ms_per_byte, most_ms_per_byte = _pace(link.capacity_bps), _pace(link.capacity_low_bps)

    encode_ms = row.encode_ms * load.expected
    queue_ms = max(0.0, link.queued_bytes * ms_per_byte - encode_ms)
    own_ms = wire_bytes * ms_per_byte
    propagate_ms = link.rtt_min_ms or 0.0
    expected = Terms(wait_ms, encode_ms, queue_ms + own_ms, propagate_ms, situation.server_ms.expected)
    deviation_ms = math.hypot(
        row.encode_ms * (load.p90 - load.expected),
        (most_bytes - wire_bytes) * ms_per_byte,
        (wire_bytes + link.queued_bytes) * (most_ms_per_byte - ms_per_byte),
        situation.server_ms.p90 - situation.server_ms.expected,
    )
    cycle_ms = max(encode_ms, own_ms, (encode_ms + own_ms + propagate_ms + expected.server_ms) / PLACES)
    share = 1.0 if situation.frame_interval_ms is None else min(1.0, situation.frame_interval_ms / cycle_ms)
    return Prospect(row, expected, queue_ms, expected.total_ms + deviation_ms + situation.margin_ms, share)


_NOMINAL = Spread()


def _pace(bits_per_s: float | None) -> float:
    """Return milliseconds a byte; 0 as long as the capacity is unknown."""
    return 8000 / bits_per_s if bits_per_s else 0.0
