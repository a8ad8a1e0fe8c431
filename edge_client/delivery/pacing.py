"""How fast a download may go beside a running stream: so that nobody notices. Pure.

Answers to frames come over the same link. So a piece keeps it busy for some milliseconds only, and between two pieces
it is left alone for several times as long. How long a piece keeps it busy shows in how much longer it takes than the
quickest one: like LEDBAT (RFC 6817), this sees queues, and is slower where there are any. Late frames make it stand
back.
"""

from __future__ import annotations

MOST_BPS = 20_000_000.0  # bytes a second
LEAST_PIECE, MOST_PIECE = 1024, 65_536  # bytes
MOST_BUSY_S = 0.02  # of the link, by one piece
BUSY_SHARE = 0.2  # of the time that pieces may keep the link busy
PAUSE_SHARE = 2.0  # of the whole time that a piece took, at least: on the thinnest links even the least one is long
STAND_BACK_S, MOST_STAND_BACK_S = 1.0, 8.0  # after a late frame, the longer the more of them follow one another
FORGET_S = 30.0  # after which the quickest piece is sought anew: the link may be another one


class BackgroundPace:
    """Says when to ask for the next piece, and for how much. Times are seconds of any clock."""

    def __init__(self, is_alone: bool = False) -> None:
        """Begin with small pieces. is_alone: nothing else needs the link: whole pieces, one right after the other."""
        self._is_alone = is_alone
        self._piece = MOST_PIECE if is_alone else LEAST_PIECE
        self._next = 0.0
        self._quickest: tuple[float, float] | None = None  # seconds, and when that was
        self._late = 0
        self._stand_back_s = STAND_BACK_S

    @property
    def piece_bytes(self) -> int:
        """How much to ask for."""
        return self._piece

    def wait_s(self, now: float) -> float:
        """Return how long to wait before asking."""
        return 0.0 if self._is_alone else max(0.0, self._next - now)

    def received(self, asked_at: float, now: float, size: int) -> None:
        """Learn that a piece has come."""
        if self._is_alone:
            return
        took = max(0.0, now - asked_at)
        if self._quickest is None or took <= self._quickest[0] or now - self._quickest[1] > FORGET_S:
            self._quickest = took, now
        busy = max(took - self._quickest[0], size / MOST_BPS)
        if busy > MOST_BUSY_S:
            self._piece = max(LEAST_PIECE, self._piece // 2)
        else:
            self._piece = min(MOST_PIECE, self._piece + self._piece // 2)
            self._stand_back_s = max(STAND_BACK_S, self._stand_back_s * 0.9)
        self._next = max(self._next, now + max(busy * (1 / BUSY_SHARE - 1), PAUSE_SHARE * took))

    def late(self, now: float, frames: int) -> None:
        """Learn how many frames have been late, all in all: more than before, and the download stands back."""
        if frames > self._late:
            self._piece = max(LEAST_PIECE, self._piece // 2)
            self._next = max(self._next, now + self._stand_back_s)
            self._stand_back_s = min(MOST_STAND_BACK_S, 2 * self._stand_back_s)
        self._late = frames
