"""What the groups of a server have done since its start, in constant memory. Pure."""

from __future__ import annotations

from collections import Counter


class GroupTally:
    """Counts of frames by what they lacked, and the time that joining took."""

    def __init__(self) -> None:
        self.answers: Counter[int] = Counter()  # of detections, by how many parts were missing
        self.parts = 0  # that have come
        self.join_s = 0.0  # that was spent on them, decoding and computing aside

    def part(self, duration_s: float) -> None:
        """Count a part, and how long taking it in has occupied the event loop."""
        self.parts += 1
        self.join_s += duration_s

    def answered(self, used: int, parts: int) -> None:
        """Count an answer by so many of so many parts."""
        self.answers[parts - used] += 1

    @property
    def frames(self) -> int:
        """Frames that were answered."""
        return self.answers.total()

    @property
    def degraded(self) -> int:
        """Those of them that lacked a part."""
        return self.frames - self.answers[0]

    @property
    def missing(self) -> int:
        """Parts that were filled in."""
        return sum(missing * count for missing, count in self.answers.items())
