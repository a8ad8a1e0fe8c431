"""All links together, with intervals and targets, on rows made up."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.adaptation.pooled import BEST_FIXED, grouped, interval, pooled, targets
from benchmarks.adaptation.tables import by_device


def row(trace: str, policy: str, ap: float, kilobytes: float = 5.0, met: float = 0.9, **other: Any) -> dict[str, Any]:
    place = {"trace": trace, "slowdown": 6.0, "fps": 10.0, "deadline_ms": 200.0, "policy": policy}
    figures = {"ap": ap, "met_share": met, "kilobytes_mean": kilobytes, "latency_ms_p95": 150.0}
    return {**place, **figures, "segments": [ap - 1, ap + 1], **other}


ROWS = [
    row("ATT-LTE-driving", "adaptive", 24.0),
    row("ATT-LTE-driving", "in-layers", 25.2),
    row("ATT-LTE-driving", "see", 21.0),
    row("ATT-LTE-driving", "greedy-oracle", 25.0, met=0.95),
    row("ATT-LTE-driving", "w4 q8", 23.9, 2.0),
    row("ATT-LTE-driving", "w1 q0", 12.0, 0.4),
    row("5g-1002", "adaptive", 28.0),
    row("5g-1002", "see", 29.0),
    row("5g-1002", "optimum", 28.5),
    row("5g-1002", "local", 27.0, 0.0),
    row("5g-1002", "w4 q8", 27.0),
]


def test_the_best_fixed_point_is_another_one_at_each_place():
    first, second = grouped(ROWS).values()
    assert (first[BEST_FIXED]["point"], second[BEST_FIXED]["ap"]) == ("w4 q8", 27.0)


def test_means_are_over_the_links_where_a_policy_was_run_and_leads_too():
    rows = {one["policy"]: one for one in pooled(ROWS)}
    assert (rows["adaptive"]["links"], rows["adaptive"]["ap"], rows["adaptive"]["ap_lead"]) == (2, 26.0, 0.0)
    assert (rows["see"]["ap"], rows["see"]["ap_lead"]) == (25.0, 1.0)
    assert (rows["see"]["lead_low"], rows["see"]["lead_high"]) == (-1.0, 3.0)
    assert (rows["local"]["links"], rows["local"]["ap_lead"]) == (1, 1.0)
    assert "image" not in rows


def test_targets_say_how_often_and_where_they_hold():
    found = {one["target"].split(",")[0]: one for one in targets(ROWS)}
    fixed = found["AP over the best fixed point's"]
    assert (fixed["places"], fixed["reached"], fixed["worst"]) == (2, 2, 0.6)
    see = found["AP over SEE's"]
    assert (see["reached"], see["worst"], see["worst_at"]) == (1, -1.0, "5g-1002, 6x, 10 fps, 200 ms")
    assert found["AP in layers over 110 % of that in one piece"]["mean"] == pytest.approx(-5.0)
    assert found["AP over 97 % of the model's optimum"]["mean"] == pytest.approx(100 * (28 / 28.5 - 0.97), abs=0.01)
    assert found["KB within twice those of the smallest fixed point of equal AP"]["worst"] == -1.0
    assert found["AP over images'"]["places"] == 0


def test_local_counts_where_it_is_in_time_only():
    late = [row("5g-1002", "adaptive", 20.0), row("5g-1002", "local", 27.0, latency_ms_p95=400.0)]
    found = next(one for one in targets(late) if "alone" in one["target"])
    assert found["places"] == 0


def test_an_interval_holds_the_mean_and_shrinks_with_more_segments():
    few, many = interval([0.0, 1.0] * 5), interval([0.0, 1.0] * 500)
    assert few[0] < 0.5 < few[1] and many[0] < 0.5 < many[1]
    assert many[1] - many[0] < (few[1] - few[0]) / 5
    assert interval([2.0]) == (2.0, 2.0)
    assert interval([]) == (0.0, 0.0)


def test_the_table_of_devices_has_a_row_for_each_who_chooses_and_a_column_for_each_device():
    slow = [{**one, "slowdown": 14.0} for one in ROWS if one["policy"] != "see"]
    lines = by_device({"pooled": pooled([*ROWS, *slow])}).splitlines()
    assert lines[0] == "| who chooses | Pi 5 (6x) | Pi 4 (14x) |"
    see = next(line for line in lines if line.startswith("| SEE"))
    assert see.endswith("| - |") and " %, " in see
    assert by_device({}).startswith("Not measured yet")
