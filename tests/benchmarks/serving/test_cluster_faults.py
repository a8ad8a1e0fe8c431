"""What a fault has cost a camera, from what became of its frames."""

from __future__ import annotations

from benchmarks.serving.cluster_faults import recovery
from benchmarks.serving.load import Tally


def tally(*frames: tuple[float, float | None]) -> Tally:
    """Return what became of frames: when each was to be sent, and its latency in ms, None if it was lost."""
    answered = [(due, latency) for due, latency in frames if latency is not None]
    return Tally(
        due_at_s=[due for due, _ in frames],
        answered_at_s=[due for due, _ in answered],
        latencies_ms=[latency for _, latency in answered],
    )


def test_frames_that_were_under_way_and_later_ones_count_until_the_last_that_was_lost_or_late():
    found = recovery(
        tally((8.0, None), (9.9, None), (10.1, 50.0), (10.2, 620.0), (11.0, None), (11.5, 48.0), (12.0, 49.0)), 10.0
    )
    assert found == {"sent": 6, "lost": 2, "late": 1, "back_after_s": 1.0, "longest_answer_ms": 620.0}


def test_a_fault_that_nobody_notices_costs_nothing():
    found = recovery(tally((9.0, 50.0), (10.5, 51.0)), 10.0)
    assert found == {"sent": 1, "lost": 0, "late": 0, "back_after_s": 0.0, "longest_answer_ms": 51.0}
