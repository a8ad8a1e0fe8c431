"""How long a frame and the word of its arrival are on their way: what a server that waits must leave of a deadline."""

from __future__ import annotations

from collections import deque

from edge_client.percentiles import percentile

REMEMBERED = 32  # frames
SHARE = 95  # percentile of their times: one frame in twenty may be late
MAX_UNACKED = 64


class WayThere:
    """Looks at frames that are sent and acknowledged. Time comes in as an argument, in seconds."""

    def __init__(self) -> None:
        self._sent_at: dict[int, float] = {}
        self._ways_ms: deque[float] = deque(maxlen=REMEMBERED)

    def sent(self, now: float, frame_id: int) -> None:
        """Note that a frame was handed to the network."""
        self._sent_at[frame_id] = now
        while len(self._sent_at) > MAX_UNACKED:
            del self._sent_at[next(iter(self._sent_at))]

    def acked(self, now: float, frame_id: int) -> None:
        """Note that the word of a frame's arrival is here."""
        sent_at = self._sent_at.pop(frame_id, None)
        if sent_at is not None:
            self._ways_ms.append((now - sent_at) * 1000)

    @property
    def ms(self) -> float:
        """The time that few frames exceed; 0 while none is known."""
        return percentile(self._ways_ms, SHARE) if self._ways_ms else 0.0
