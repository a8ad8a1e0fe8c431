"""All runs together, as rows and as Markdown, on rows made up."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.adaptation import tables as adapt_tables
from benchmarks.adaptation.summary import against_rivals, with_shares, worst_cases


def row(trace: str, policy: str, ap: float, met_share: float, **other: Any) -> dict[str, Any]:
    given = {"trace": trace, "family": "recorded", "tuned_on": trace == "umts", "deadline_ms": 200.0}
    given |= {"slowdown": 6.0, "fps": 10.0}
    figures = {"latency_ms_p50": 101.4, "latency_ms_p95": 180.0, "latency_ms_p99": None, "kilobytes_mean": 2.34}
    rest = {"switches_per_min": 12.6, "frames": {"split": 9, "local": 1}}
    return {**given, "policy": policy, "ap": ap, "met_share": met_share, **figures, **rest, **other}


ROWS = [
    row("umts", "adaptive", 18.0, 0.90),
    row("umts", "greedy-oracle", 20.0, 1.0),
    row("umts", "oracle", 21.0, 1.0),
    row("umts", "see", 10.0, 0.70),
    row("umts", "image", 15.0, 0.95),
    row("umts", "w1 q0", 16.5, 0.99),
    row("umts", "w4 q5", 12.0, 0.60),
    row("att", "adaptive", 19.0, 0.98),
    row("att", "greedy-oracle", 20.0, 0.98),
    row("att", "see", 10.0, 0.50),
]
REACTION = {"deadline_ms": 200.0, "late_frames_after_step_down": 2, "seconds_to_new_best_after_step_up": 0.7}
REACTION |= {"frames_until_width_follows_load": 3, "decision_us_p50": 61.2}


def result() -> dict[str, Any]:
    rows = with_shares(ROWS)
    compared = against_rivals(rows)
    return {"runs": rows, "compared": compared, "worst": worst_cases(compared), "reactions": [REACTION]}


def test_shares_are_those_of_the_greedy_oracle_on_the_same_trace():
    shares = {(r["trace"], r["policy"]): (r["ap_of_greedy"], r["met_share_of_greedy"]) for r in with_shares(ROWS)}
    assert shares["umts", "adaptive"] == (0.9, 0.9)
    assert shares["att", "adaptive"] == (0.95, 1.0)
    assert with_shares([row("att", "see", 1.0, 0.5)])[0]["ap_of_greedy"] is None
    unable = with_shares([row("att", "greedy-oracle", 0.0, 0.0)])[0]
    assert unable["ap_of_greedy"] is None


def test_the_best_rival_is_the_best_without_foresight():
    umts, att = against_rivals(with_shares(ROWS))
    assert (umts["best_rival"], umts["best_rival_ap"], umts["ap_lead"]) == ("w1 q0", 16.5, 1.5)
    assert umts["met_lead"] == -0.05  # images under the same controller, not the fixed point
    assert (att["best_rival"], att["ap_lead"], att["met_lead"]) == ("see", 9.0, 0.48)


def test_without_rivals_or_the_controller_nothing_is_compared():
    assert against_rivals(with_shares([row("att", "see", 1.0, 0.5)])) == []
    (alone,) = against_rivals(with_shares([row("att", "adaptive", 1.0, 0.5)]))
    assert (alone["best_rival"], alone["ap_lead"], alone["met_lead"]) == (None, None, None)
    (worst, _) = worst_cases([alone])
    assert (worst["ap_lead"], worst["ap_lead_at"]) == (None, None)


def test_the_worst_case_names_its_trace():
    everything, untuned = worst_cases(against_rivals(with_shares(ROWS)))
    assert (everything["traces"], everything["ap_of_greedy"], everything["ap_of_greedy_at"]) == (
        "all",
        0.9,
        "umts",
    )
    assert (untuned["traces"], untuned["ap_of_greedy"], untuned["ap_of_greedy_at"]) == (
        "not tuned on",
        0.95,
        "att",
    )


def test_the_comparison_has_a_row_for_each_trace_and_deadline():
    lines = adapt_tables.compared(result()).splitlines()
    assert lines[2] == "| umts | 200 | 90.0% (90.0%) | 18.0 (90.0%) | always w1 q0, 16.5 | +1.5 |"
    assert lines[3] == "| att | 200 | 98.0% (100.0%) | 19.0 (95.0%) | SEE, 10.0 | +9.0 |"
    assert {line.count("|") for line in lines} == {7}


def test_results_with_the_former_names_give_the_same_tables():
    today = json.dumps(result())
    former = today.replace('"oracle"', '"clairvoyant"').replace('"greedy-oracle"', '"oracle"')
    former = former.replace("of_greedy", "of_oracle")
    assert former != today
    assert adapt_tables.renamed(json.loads(former)) == adapt_tables.renamed(result()) == result()


def test_the_policies_are_shown_with_the_best_fixed_point_only():
    lines = adapt_tables.policies(result()).splitlines()
    assert [line.split(" | ")[2] for line in lines[2:]] == [
        *("SlimSplit", "images alone", "SEE", "always w1 q0", "greedy oracle"),
        *("SlimSplit", "SEE", "greedy oracle"),
    ]
    assert lines[2].endswith("| 90.0% | 18.0 | 101 / 180 / - | 2.3 | 13 | split 9, local 1 |")


def test_a_real_run_without_frames_has_no_row():
    runs = {"runs": [ROWS[0], {"trace": "umts", "deadline_ms": 200.0, "policy": "see", "outcomes": {}}]}
    assert adapt_tables.real(runs).count("\n") == 3


def test_the_summary_shows_worst_cases_and_reactions():
    lines = adapt_tables.summary(result()).splitlines()
    assert lines[2] == "| all | 200 | 90.0% (umts) | 90.0% (umts) | +1.5 (umts) |"
    assert lines[-1] == "| 200 | 2 | 0.7 | 3 | 61 |"


def test_a_step_that_is_never_reached_is_a_dash():
    never = {**result(), "reactions": [{**REACTION, "seconds_to_new_best_after_step_up": None}]}
    assert adapt_tables.summary(never).splitlines()[-1] == "| 200 | 2 | - | 3 | 61 |"


def test_images_follow_the_theme_of_the_page():
    assert 'srcset="adapt-recorded-dark.png"' in adapt_tables.figures(result())
    assert 'src="docs/results/adapt-run-light.png"' in adapt_tables.time_line(result(), "docs/results/")
