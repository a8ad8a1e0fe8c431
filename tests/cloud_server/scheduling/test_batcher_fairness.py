"""One session sends ten times as much as each of the others, to a server that is slower than all of them together."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from cloud_server.scheduling.batcher import Batcher, Request
from splitnet.errors import ShedError

EQUALS = 10
FLOODER = EQUALS
DEADLINE_S = 0.5
SECONDS = 30.0
GOLDEN = 0.618034


@dataclass
class Counts:
    """Frames by session."""

    sent: list[int] = field(default_factory=lambda: [0] * (EQUALS + 1))
    in_time: list[int] = field(default_factory=lambda: [0] * (EQUALS + 1))

    def share(self, session: int) -> float:
        return self.in_time[session] / self.sent[session]


def arrivals(period_s: float) -> list[tuple[float, int]]:
    """Return when each session's frames come; the last session's period is a tenth of the others'."""
    calm = [((n + session * GOLDEN % 1.0) * period_s, session) for session in range(EQUALS) for n in range(1000)]
    flood = [(n * period_s / 10 + 0.01, FLOODER) for n in range(10_000)]
    return sorted((at, session) for at, session in calm + flood if at < SECONDS)


def served(frame_s: float, fixed_s: float, period_s: float) -> Counts:
    """Serve them in virtual time, by batches that take frame_s for each frame and fixed_s for all."""
    batcher: Batcher[Request] = Batcher(max_batch_size=8, max_queue=64, max_per_session=8)
    coming, counts, now = arrivals(period_s), Counts(), 0.0
    while coming and now < SECONDS:
        while coming and coming[0][0] <= now:
            at, session = coming.pop(0)
            counts.sent[session] += 1
            request = Request("frames", at, at + DEADLINE_S, session)
            try:
                batcher.admit(request)
            except ShedError:
                continue
            batcher.ready(request, now)
        start_at = batcher.start_at(now)
        if start_at > now:
            now = min([start_at, *(at for at, _ in coming[:1])])
            continue
        batch = batcher.take(now).requests
        if batch:
            duration_s = fixed_s + frame_s * len(batch)
            batcher.observe("frames", len(batch), duration_s)
            now += duration_s
            for request in batch:
                counts.in_time[request.session] += now <= request.deadline
    return counts


@pytest.mark.parametrize(
    ("frame_s", "fixed_s", "period_s"),
    [(0.11, 0.0, 1.0), (0.18, 0.0, 1.0), (0.075, 0.01, 0.7), (0.01, 0.05, 0.12)],
    ids=["nine a second", "six a second", "batching pays a little", "batching pays"],
)
def test_whoever_floods_gets_no_more_than_the_others_when_not_even_they_can_be_served(frame_s, fixed_s, period_s):
    counts = served(frame_s, fixed_s, period_s)
    calm = [counts.share(session) for session in range(EQUALS)]
    mean = sum(counts.in_time[:EQUALS]) / EQUALS
    assert counts.in_time[FLOODER] <= 1.3 * mean
    assert counts.share(FLOODER) < 0.25 * sum(calm) / EQUALS
    assert sum(calm) ** 2 / (EQUALS * sum(share**2 for share in calm)) > 0.9  # Jain's index


def test_who_floods_takes_what_the_others_leave():
    counts = served(frame_s=0.05, fixed_s=0.0, period_s=1.0)  # twenty a second, half of them the others'
    assert all(counts.share(session) == 1.0 for session in range(EQUALS))
    assert counts.in_time[FLOODER] > 5 * counts.in_time[0]
