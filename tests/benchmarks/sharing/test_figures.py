"""What the merges say together: correlations, the frontier, and what simpler choices would give."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.sharing.correlations import correlate, correlations, pearson, ranks
from benchmarks.sharing.distilled import chosen
from benchmarks.sharing.sharing import _kept
from benchmarks.sharing.sharing_figures import SIMILARITIES, baselines, chosen_metric, frontier, held_out
from benchmarks.sharing.sharing_tables import sharing_baselines, sharing_correlations, sharing_frontier


def merge(loss: float, saved: int, mmacs: float = 0.0, group: str = "common ancestor", **similarity: float):
    known = dict.fromkeys(SIMILARITIES, 0.5) | {"weight_distance": 0.1} | similarity
    named = {"a": "x", "b": "y", "group": group, "kind": "map", "cut": "dark4", "label": f"{loss}"}
    figures = {"ap_alone": 50.0, "ap": 50.0 - loss, "ap_loss": loss, "ap_kept": 100 - 2 * loss}
    return {**named, **figures, "bytes_saved": saved, "bytes_alone": 100, "mmacs_saved": mmacs, "similarity": known}


MERGES = [
    merge(loss, 20 + 10 * int(loss), 5.0 * loss, r2=1 - loss / 10, cka=0.9 - 0.1 * (loss == 4)) for loss in range(7)
]


def test_pearson_and_ranks_are_those_of_numpy():
    a, b = np.array([1.0, 5, 2, 8, 3]), np.array([2.0, 9, 1, 7, 7])
    assert pearson(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert ranks(b).tolist() == [2.0, 5.0, 1.0, 3.5, 3.5]


def test_a_straight_line_correlates_fully_and_a_constant_says_nothing():
    found = correlate(range(8), [3 - 2 * i for i in range(8)])
    assert found is not None and (found.pearson, found.spearman, found.merges) == pytest.approx((-1.0, -1.0, 8))
    assert -1.0 <= found.low <= found.high <= -0.99
    assert correlate(range(8), [1.0] * 8) is None
    assert correlate([1.0, 2.0], [1.0, 2.0]) is None


def test_what_is_not_known_of_some_merges_is_left_out():
    found = correlate([*range(6), math.nan], [*range(6), 100.0])
    assert found is not None and (found.merges, found.pearson) == (6, pytest.approx(1.0))


def test_the_interval_holds_the_value_and_narrows_with_more_merges():
    draw = np.random.default_rng(1)
    x = draw.normal(size=200)
    y = x + draw.normal(size=200)
    few, many = correlate(x[:20], y[:20]), correlate(x, y)
    assert few is not None and many is not None
    assert few.low <= few.pearson <= few.high and many.high - many.low < few.high - few.low


def test_correlations_are_given_for_all_and_within_groups():
    rows = correlations([*MERGES, *(merge(6.0, 1, group="across families", r2=i / 10) for i in range(5))], "ap_kept")
    r2 = {row["group"]: row["pearson"] for row in rows if row["metric"] == "r2"}
    assert set(r2) == {"all", "common ancestor"}  # across families nothing varies in what was kept
    assert r2["common ancestor"] == pytest.approx(1.0)


def test_the_metric_that_goes_best_with_what_was_kept_is_chosen():
    assert chosen_metric(MERGES) == "r2"


def test_a_measure_is_judged_on_pairs_that_it_was_not_chosen_on():
    def pair(name: str, offset: float) -> list:
        return [{**merge(i, 10, r2=1 - i / 10 + offset, cka=(i * 7 % 5) / 5), "b": name} for i in range(6)]

    found = held_out([*pair("y", 0.0), *pair("z", 0.0)])
    assert found is not None and found["chosen"] == {"r2": 2} and found["pearson"] == pytest.approx(1.0)
    assert found["mean_error"] == pytest.approx(0.0, abs=1e-9)
    shifted = held_out([*pair("y", 0.0), *pair("z", 0.3)])  # the line of one pair does not hold for the other
    assert shifted is not None and shifted["mean_error"] == pytest.approx(6.0)
    assert held_out(pair("y", 0.0)) is None


def test_the_frontier_leaves_out_what_another_beats_in_everything():
    beaten = merge(3.0, 20, 0.0)
    kept = frontier([*MERGES, beaten])
    assert [row["ap_loss"] for row in kept] == [0, 1, 2, 3, 4, 5, 6]


def test_a_good_ranking_saves_what_the_oracle_saves_and_equal_ranks_cannot():
    rows = {row["ap_lost_at_most"]: row["share_saved"] for row in baselines(MERGES)}
    assert rows[2.0]["oracle"] == rows[2.0]["r2"] == pytest.approx(0.20)
    assert 0 < rows[2.0]["random"] < rows[2.0]["oracle"]
    assert rows[2.0]["identical layers"] == 0.0


def test_merges_to_be_trained_are_the_best_that_save_enough_and_the_best_across():
    enough, little = merge(1.0, 70), merge(0.0, 10)
    across = {**merge(5.0, 0, group="across families"), "kind": "own stem"}
    assert chosen([little, enough, across], 2) == [enough, across]


def test_the_tables_have_a_row_for_each():
    record = {
        "correlations": correlations(MERGES, "ap_kept"),
        "frontier": frontier(MERGES),
        "baselines": baselines(MERGES),
    }
    assert "| R2 of the map | 1.00 (1.00 to 1.00), 1.00 |" in sharing_correlations(record)
    assert sharing_frontier(record).count("\n") == 2 + 7
    assert sharing_baselines(record).count("| x for y |") == 4


def test_what_an_interrupted_run_has_measured_is_not_measured_again(tmp_path):
    out = tmp_path / "sharing.json"
    first = _kept(out, "a pair", lambda: [merge(1.0, 20)])
    again = _kept(out, "a pair", lambda: pytest.fail("it is known"))
    assert again == first and first[0]["ap_loss"] == 1.0 and "commit" in first[0]
    assert len(_kept(out, "another", lambda: [])) == 0
