"""The greedy oracle: the product's rule with the link's future instead of an estimate.

It knows the trace, the queue, the device's load and the server's mean time, all exactly. Of the sizes of frames that
are not encoded yet, it knows what the product's table knows. Frame by frame it takes the point with the most AP per
frame of the source that is in time, even if the frame is as large as nine of ten. It does not plan ahead. For a bound
that nobody can pass, see `oracle`.
"""

from __future__ import annotations

import numpy as np

from benchmarks.adaptation.simulation import World
from edge_client.adaptation.link import MESSAGE_OVERHEAD_BYTES
from edge_client.adaptation.point_table import PointTable
from edge_client.adaptation.policy import MAX_IN_FLIGHT, Decision, FrameContext, Policy
from splitnet.operating_point import LOCAL, SKIP


class GreedyOraclePolicy(Policy):
    """Chooses by what the link will do."""

    def __init__(self, world: World, table: PointTable) -> None:
        self._world = world
        self._table = table
        self._link_free = 0.0
        rows = table.rows
        self._ap = np.array([row.ap for row in rows])
        self._usual_bytes = np.array([row.bytes_p50 for row in rows]) + MESSAGE_OVERHEAD_BYTES
        self._most_bytes = np.array([row.bytes_p90 for row in rows]) + MESSAGE_OVERHEAD_BYTES
        self._encode_s = np.array([world.device.encode_ms(row.point) for row in rows]) / 1000

    @property
    def works_offline(self) -> bool:
        """Whether the device can detect alone."""
        return self._table.local_ms is not None

    def choose(self, now: float, context: FrameContext) -> Decision:
        """Return the best point that will be in time; else LOCAL if that is, else SKIP."""
        world = self._world
        due = context.capture_time + world.deadline_ms / 1000 if world.deadline_ms else np.inf
        encode_s = self._encode_s * world.device.factor(now)
        begin = np.maximum(now + encode_s, self._link_free)
        back_s = (world.rtt_ms + world.server_ms) / 1000
        usual_s = world.trace.finish_times(begin, self._usual_bytes) - begin
        done = world.trace.finish_times(begin, self._most_bytes) + back_s
        cycle_s = np.maximum(np.maximum(encode_s, usual_s), (encode_s + usual_s + back_s) / MAX_IN_FLIGHT)
        score = self._ap * np.minimum(1.0, 1 / world.fps / cycle_s) * (done <= due)
        if context.can_send and len(score) and score.max() > 0:
            return Decision(self._table.rows[int(score.argmax())].point, "foreseen")
        local_s = world.device.local_ms / 1000 * world.device.factor(now)
        in_time = self.works_offline and not context.local_pending and now + local_s <= due
        return Decision(LOCAL if in_time else SKIP, "foreseen")

    def sent(self, now: float, frame_id: int, payload_bytes: int, layer: int = 0) -> None:
        """Follow the queue."""
        wire_bytes = payload_bytes + MESSAGE_OVERHEAD_BYTES
        self._link_free = self._world.trace.finish_time(max(now, self._link_free), wire_bytes)
