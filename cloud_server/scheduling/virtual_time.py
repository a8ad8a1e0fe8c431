"""The clock of start-time fair queueing (Goyal et al., SIGCOMM 1996). Pure.

A flow's virtual time is what it has had. Whoever comes anew, or again, starts where those stand that are served now:
having been away earns no credit.
"""

from __future__ import annotations

from collections.abc import Hashable

MAX_REMEMBERED = 4096  # flows ahead of the others; beyond it the nearest are forgiven


class VirtualTime:
    """What flows have had of something, as far as it matters."""

    def __init__(self) -> None:
        self._ahead: dict[Hashable, float] = {}  # virtual times that are ahead of _now
        self._now = 0.0

    def is_ahead(self, flow: Hashable) -> bool:
        """Return whether a flow has had more than those that are served now."""
        return flow in self._ahead

    def start(self, flow: Hashable) -> float:
        """Return where a flow stands."""
        return max(self._now, self._ahead.get(flow, 0.0))

    def advance(self, time: float) -> None:
        """Say where the flow stands that is served now."""
        self._now = max(self._now, time)

    def charge(self, flow: Hashable, cost: float) -> None:
        """Say what a flow has had."""
        self._ahead[flow] = self.start(flow) + cost

    def forget(self) -> None:
        """Forget the flows that are not ahead any more."""
        if len(self._ahead) > MAX_REMEMBERED:
            self._now = sorted(self._ahead.values())[len(self._ahead) - MAX_REMEMBERED - 1]
        self._ahead = {flow: time for flow, time in self._ahead.items() if time > self._now}
