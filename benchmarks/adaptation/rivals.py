"""The rivals of the controller."""

from __future__ import annotations

from collections.abc import Sequence

from edge_client.adaptation.point_table import PointCosts
from edge_client.adaptation.policy import Decision, FrameContext, Policy
from splitnet.errors import ConfigError
from splitnet.messages import Ack
from splitnet.operating_point import LOCAL, SKIP

EWMA = 0.4  # SEE's weight of the newest throughput


class LocalOnlyPolicy(Policy):
    """The device detects by itself, as fast as it can."""

    @property
    def works_offline(self) -> bool:
        """It needs no link."""
        return True

    def choose(self, now: float, context: FrameContext) -> Decision:
        """Return LOCAL whenever the detector is free."""
        return Decision(SKIP if context.local_pending else LOCAL)


class SeePolicy(Policy):
    """SEE's controller: the most accurate point that fits, from a smoothed throughput and constant encode times.

    Throughput is that of whole frames (bytes over the time from sending until the acknowledgement), smoothed
    with weight 0.4; the time of the server and the queue are not known to it. Where nothing fits it takes the
    smallest point.
    """

    def __init__(self, rows: Sequence[PointCosts]) -> None:
        if not rows:
            raise ConfigError("SEE's controller needs operating points to choose from")
        self._rows = sorted(rows, key=lambda row: row.bytes_p50)
        self._bps: float | None = None
        self._sent: dict[int, tuple[float, int]] = {}

    def choose(self, now: float, context: FrameContext) -> Decision:
        """Return the most accurate point whose nominal encode time and mean transmission fit the deadline."""
        bps = self._bps
        if bps is None:
            return Decision(self._rows[0].point, "start")
        limit_ms = context.deadline_ms or float("inf")
        fitting = [row for row in self._rows if row.encode_ms + 8000 * row.bytes_p50 / bps <= limit_ms]
        best = max(fitting, key=lambda row: row.ap, default=self._rows[0])
        return Decision(best.point, "throughput")

    def sent(self, now: float, frame_id: int, payload_bytes: int, layer: int = 0) -> None:
        """Remember when a frame left."""
        self._sent[frame_id] = now, payload_bytes

    def acked(self, now: float, ack: Ack) -> None:
        """Take a sample of the throughput."""
        sent, payload_bytes = self._sent.pop(ack.frame_id, (now, 0))
        if now > sent:
            sample = 8 * payload_bytes / (now - sent)
            self._bps = sample if self._bps is None else (1 - EWMA) * self._bps + EWMA * sample

    def failed(self, now: float, frame_id: int) -> None:
        """Forget a frame."""
        self._sent.pop(frame_id, None)

    def link_down(self, now: float) -> None:
        """Forget all frames in flight."""
        self._sent.clear()
