"""The figures of a server under load: exact, from what became of every frame."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.serving.figures import against_bare, fairness, jain, percentile, phase, refusals, summary, verdict
from benchmarks.serving.load import Load, Tally

LOAD = Load(devices=3, frames_per_s=60.0, deadline_ms=200, seconds=0.4)
TALLIES = [
    Tally(
        4, [10.0, 250.0], [1.0, 3.0], Counter(RESOURCE_EXHAUSTED=1), [5.0, 7.0], acks_ms=[0.5] * 3, lags_ms=[0.1] * 4
    ),
    Tally(3, [30.0], [2.0], Counter(DEADLINE_EXCEEDED=1, INVALID_ARGUMENT=1), [6.0], [0.7] * 2, lags_ms=[0.1] * 3),
]


def test_jains_index_is_one_for_equals_and_one_nth_if_one_has_all():
    assert jain([3, 3, 3]) == pytest.approx(1.0)
    assert jain([5, 0, 0, 0]) == pytest.approx(0.25)
    assert jain([0, 0]) == 1.0


def test_fairness_is_over_the_share_of_each_devices_own_frames():
    unequal = [Tally(2, [10.0] * 2), Tally(3, [10.0] * 3), Tally(7, [10.0] * 7)]
    assert fairness(unequal, 200) == pytest.approx(1.0)  # all in time, however many they sent
    halves = [Tally(4, [10.0, 10.0, 300.0]), Tally(2, [10.0])]
    assert fairness(halves, 200) == pytest.approx(1.0)
    assert fairness([*halves, Tally(5, [300.0])], 200) == pytest.approx(2 / 3)  # shares 1/2, 1/2, 0
    assert fairness([Tally(4, [10.0] * 4), Tally(4, [10.0] * 2)], 200) == pytest.approx(0.9)  # 1, 1/2
    assert fairness([*halves, Tally()], 200) == pytest.approx(1.0)  # who sends nothing is not treated unfairly


def test_goodput_is_compared_with_the_bare_model_just_before_and_after():
    assert against_bare([9.0, 15.0], [10.0, 14.0, 16.0]) == {
        "share_of_bare": pytest.approx(0.875),
        "share_of_bare_min": pytest.approx(0.75),
        "share_of_bare_max": pytest.approx(1.0),
        "bare_frames_per_s": pytest.approx(13.5),
    }


def test_a_summary_counts_late_refused_and_unanswered_frames():
    figures = summary(TALLIES, LOAD)
    assert figures["sent_per_s"] == 17.5 and figures["goodput_per_s"] == 5.0
    assert figures["in_time"] == pytest.approx(2 / 7)
    counts = ("late", "shed", "expired", "failed", "unanswered")
    assert [figures[name] for name in counts] == [1, 1, 1, 1, 1]
    medians = ("latency_ms_p50", "overhead_ms_p50", "wait_ms_p50", "ack_ms_p50")
    assert [figures[name] for name in medians] == [30.0, 2.0, 6.0, 0.5]
    assert figures["jain"] == pytest.approx((1 / 4 + 1 / 3) ** 2 / (2 * (1 / 16 + 1 / 9)))
    assert figures["generator_lag_ms_p99"] == pytest.approx(0.1)


def test_a_summary_of_nothing_has_no_percentiles():
    figures = summary([Tally()], LOAD)
    assert figures["latency_ms_p99"] is None and figures["in_time"] is None and figures["goodput_per_s"] == 0.0


def test_refusals_are_added_up_by_status():
    assert refusals(TALLIES) == Counter(RESOURCE_EXHAUSTED=1, DEADLINE_EXCEEDED=1, INVALID_ARGUMENT=1)
    assert refusals([]).total() == 0


def test_a_percentile_is_of_something():
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0
    assert percentile([], 50) is None


def test_a_phase_counts_the_frames_between_two_moments():
    one = Tally(4, [10.0, 300.0, 20.0], due_at_s=[1.0, 2.0, 2.5, 3.0], answered_at_s=[1.0, 2.0, 3.0])
    assert phase("during", [one, Tally()], 2.0, 3.0, 200) == {
        "phase": "during",
        "seconds": 1.0,
        "sent": 2,
        "not_in_time": 2,  # one late, one without an answer
        "latency_ms_p99": 300.0,
        "latency_ms_max": 300.0,
    }
    assert phase("before", [one], 0.0, 2.0, 200)["not_in_time"] == 0
    assert phase("after", [one], 9.0, 8.0, 200)["latency_ms_max"] is None


def row(server: str, load: float, share: float, p99: float = 100.0) -> dict[str, object]:
    return {
        "server": server,
        "load": load,
        "share_of_bare": share,
        "latency_ms_p99": p99,
    }


def test_the_verdict_is_about_batching_its_best_and_its_highest_load():
    rows = [row("batching", 2.0, 0.9, 450.0), row("batching", 0.5, 0.5), row("batching", 1.2, 0.96)]
    assert verdict([*rows, row("batching off", 2.0, 0.99)]) == {
        "peak_share_of_bare": 0.96,
        "share_of_peak_at_highest_load": pytest.approx(0.9375),
        "latency_ms_p99_at_highest_load": 450.0,
    }


def test_nothing_in_time_has_no_share_of_the_best():
    assert verdict([row("batching", 1.0, 0.0)])["share_of_peak_at_highest_load"] is None
