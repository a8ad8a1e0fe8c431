"""Growing delays between attempts to reach something that is away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Backoff:
    """Exponentially growing delays with jitter, so that a fleet does not return in one wave.

    Every delay is drawn evenly from the upper half of its step: never zero, never in step with others.
    """

    random: Callable[[], float]  # evenly distributed in 0..1
    first_s: float = 0.1
    ceiling_s: float = 2.0
    factor: float = 2.0
    _step_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.reset()

    def next_delay_s(self) -> float:
        """Return the seconds to wait now, and lengthen the next step."""
        delay = self._step_s * (0.5 + 0.5 * self.random())
        self._step_s = min(self.ceiling_s, self._step_s * self.factor)
        return delay

    def reset(self) -> None:
        """Start over with the shortest step: the attempt succeeded."""
        self._step_s = self.first_s
