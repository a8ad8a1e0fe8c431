"""How fast a download may go beside a running stream: as fast as nobody notices. Pure.

Like LEDBAT (RFC 6817), it backs off as soon as answers take longer than they must: a queue that it has caused itself is
in front of the camera's answers, too. Late frames make it stand back at once.
"""

from __future__ import annotations

FIRST_BPS = 8_000.0  # bytes a second
LEAST_BPS, MOST_BPS = 2_000.0, 20_000_000.0
TARGET_DELAY_S = 0.025  # of a piece, beyond what it takes at best
GAIN, DECREASE = 1.08, 0.7  # for each piece
LEAST_PIECE, MOST_PIECE = 1024, 65_536  # bytes
PIECE_S = 0.05  # of the rate: no piece keeps the link busy for longer
STAND_BACK_S = 1.0  # after a late frame
FORGET_S = 30.0  # after which the best time is sought anew: the link may be another one


class BackgroundPace:
    """Says when to ask for the next piece, and for how much. Times are seconds of any clock."""

    def __init__(self, is_alone: bool = False) -> None:
        """Begin slowly. is_alone: nothing else needs the link: ask for whole pieces, one right after the other."""
        self._is_alone = is_alone
        self._rate = FIRST_BPS
        self._next = 0.0
        self._best: tuple[float, float] | None = None  # seconds, and when that was
        self._late = 0

    @property
    def rate(self) -> float:
        """Bytes a second, at most."""
        return MOST_BPS if self._is_alone else self._rate

    @property
    def piece_bytes(self) -> int:
        """How much to ask for."""
        return MOST_PIECE if self._is_alone else int(min(MOST_PIECE, max(LEAST_PIECE, self._rate * PIECE_S)))

    def wait_s(self, now: float) -> float:
        """Return how long to wait before asking."""
        return 0.0 if self._is_alone else max(0.0, self._next - now)

    def received(self, asked_at: float, now: float, size: int) -> None:
        """Learn that a piece has come."""
        took = max(0.0, now - asked_at)
        least = max(0.0, took - size / MOST_BPS)
        if self._best is None or least <= self._best[0] or now - self._best[1] > FORGET_S:
            self._best = least, now
        serialised = size / self._rate
        queued = took - self._best[0] - serialised
        if queued > TARGET_DELAY_S:
            self._rate = max(LEAST_BPS, self._rate * DECREASE)
        else:
            self._rate = min(MOST_BPS, self._rate * GAIN)
        self._next = asked_at + size / self._rate

    def late(self, now: float, frames: int) -> None:
        """Learn how many frames have been late, all in all: more than before, and the download stands back."""
        if frames > self._late:
            self._rate = max(LEAST_BPS, self._rate * DECREASE)
            self._next = max(self._next, now + STAND_BACK_S)
        self._late = frames
