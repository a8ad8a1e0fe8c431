"""What the rows of the update benchmark say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.updates import update_tables
from benchmarks.updates.update_figures import best_rows, budgets, bytes_at, comparisons, interval_of_ratio, value_at


def row(method: str, size: int, fidelities: list[float], seed: int = 0, gain: float = 0.5) -> dict[str, object]:
    """Return a row: fidelity as measured, then resampled."""
    values = {"task": "bccd", "method": method, "seed": seed, "bytes": size, "gain_share": gain}
    return {**values, "fidelity": fidelities[0], "resampled": fidelities}


def test_bytes_at_a_fidelity_lie_on_a_straight_line_of_their_logarithm():
    sizes, fidelities = np.array([40_000.0, 10_000.0]), np.array([98.0, 90.0])
    assert bytes_at(sizes, fidelities, 94.0) == pytest.approx(20_000)
    assert bytes_at(sizes, fidelities, 90.0) == 10_000
    assert bytes_at(sizes, fidelities, 50.0) == 10_000  # nothing smaller was tried
    assert bytes_at(sizes, fidelities, 99.0) == math.inf


def test_a_larger_update_that_is_worse_is_passed_over():
    sizes, fidelities = np.array([1.0, 2.0, 3.0, 4.0]), np.array([80.0, 60.0, 70.0, 100.0])
    assert bytes_at(sizes, fidelities, 90.0) == pytest.approx(2.0)


def test_a_budget_takes_the_best_update_that_fits():
    assert value_at([9, 18, 36], [40, 60, 50], 36) == 60
    assert value_at([9, 18], [40, 60], 8) is None


def test_half_of_the_best_rivals_bytes_is_said_with_its_interval():
    rows = [
        row("SlimSplit", 10_000, [98.0, 98.0, 98.0]),
        row("a", 40_000, [98.0, 98.0, 90.0]),
        row("b", 50_000, [98.0, 97.0, 98.0]),
    ]
    (found,) = comparisons(rows, "SlimSplit", [98.0])
    assert (found["bytes"], found["rival"], found["rival_bytes"]) == (10_000, "a", 40_000)
    assert (found["ratio"], found["ratio_low"], found["ratio_high"]) == pytest.approx((0.25, 0.2, 0.25))
    assert found["is_half"]


def test_half_is_not_claimed_where_the_interval_holds_one():
    rows = [row("SlimSplit", 10_000, [98.0, 90.0]), row("a", 40_000, [98.0, 98.0])]
    (found,) = comparisons(rows, "SlimSplit", [98.0])
    assert found["ratio"] == pytest.approx(0.25)
    assert found["ratio_high"] is None  # in a resample we do not get there at all
    assert not found["is_half"]


def test_where_we_do_not_get_there_nothing_is_said():
    rows = [row("SlimSplit", 10_000, [90.0, 90.0]), row("a", 40_000, [99.0, 98.0])]
    (found,) = comparisons(rows, "SlimSplit", [98.0])
    assert (found["bytes"], found["ratio"], found["ratio_low"], found["is_half"]) == (None, None, None, False)


def test_seeds_count_by_the_mean_of_their_ratios():
    rows = [row("SlimSplit", 10, [98.0], 0), row("a", 20, [98.0], 0), row("SlimSplit", 10, [98.0], 1)]
    rows += [row("a", 80, [98.0], 1), row("a", 5, [98.0], 2)]  # the last seed has no row of ours
    (found,) = comparisons(rows, "SlimSplit", [98.0])
    assert (found["ratio"], found["seeds"]) == (pytest.approx(0.25), 2)


def test_an_interval_knows_of_infinite_ratios():
    assert interval_of_ratio(np.array([1.0, 0.5, np.inf])) == (0.5, None)
    assert interval_of_ratio(np.array([1.0, 0.5, np.nan])) == (0.5, None)
    assert interval_of_ratio(np.array([np.nan, 0.5, 0.5])) == (None, None)


def test_budgets_set_our_best_beside_the_best_rivals():
    rows = [row("SlimSplit", 8_000, [70.0], gain=0.6), row("a", 8_500, [50.0], gain=0.3)]
    found = budgets(rows, "SlimSplit")
    assert found[0] == {
        **{"task": "bccd", "budget_kb": 9, "fidelity": 70.0, "rival_fidelity": 50.0},
        **{"gain_share": 0.6, "rival_gain_share": 0.3},
    }


def test_tables_say_what_was_not_reached():
    rows = [row("SlimSplit", 10_000, [96.0, 96.0]), row("a", 240_000, [99.0, 98.5])]
    best, compared = best_rows(rows), comparisons(rows, "SlimSplit")
    result = {"best": best, "comparisons": compared, "comparisons_50": [], "budgets": budgets(rows, "SlimSplit")}
    assert "| SlimSplit | - | 10.0 | 10.0 |\n| a | 240 | 240 | 240 |" in update_tables.update_bytes(result)
    assert "| bccd | 95 % | 10.0 | a | 240 | 0.04 | 0.04 to 0.04 | 1 |" in update_tables.update_ratios(result)
    assert "| bccd | 98 % | - | a | 240 | - | - | 1 |" in update_tables.update_ratios(result)
    assert "|\n| bccd | 18 | 96 % | - | 50 % | - |\n| bccd | 36" in update_tables.update_budgets(result)


def test_without_updates_of_ours_tables_say_so():
    rows = [row("a", 9_000, [96.0, 96.0])]
    result = {
        "comparisons": comparisons(rows, "SlimSplit"),
        "comparisons_50": [],
        "budgets": budgets(rows, "SlimSplit"),
    }
    assert update_tables.update_ratios(result) == update_tables.update_budgets(result) == update_tables.NOT_YET
