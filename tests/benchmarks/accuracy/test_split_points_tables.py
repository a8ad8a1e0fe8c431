"""The tables of docs/split-points.md."""

from __future__ import annotations

from benchmarks.accuracy.split_points_tables import budgets, bundle, choices, cuts, verified
from tests.support.cut_samples import DEEP, SHALLOW
from training.cuts.figures import cut_to_json

RESULT = {
    "images": 7,
    "unsplit": {"ap": 29.36, "ap50": 45.0},
    "cuts": [cut_to_json(SHALLOW), cut_to_json(DEEP)],
}


def test_a_cut_is_a_row_with_what_it_sends_and_costs():
    assert cuts(RESULT).splitlines()[2:] == [
        "| dark2 | dark3: 64x8x8 | 5 | 50 | 450 |",
        "| dark4 | dark3: 64x8x8 | 5 | 150 | 350 |",
    ]


def test_the_best_that_fits_a_size_is_shown_with_its_own():
    assert budgets(RESULT).splitlines()[2:] == [
        "| dark2 | 50 | 5.0 (2.0 KB) | 5.0 (2.0 KB) | 5.0 (2.0 KB) | 5.0 (2.0 KB) | 25.0 (20.0 KB) |",
        "| dark4 | 150 | 10.0 (1.5 KB) | 20.0 (3.0 KB) | 20.0 (3.0 KB) | 21.0 (9.0 KB) | 21.0 (9.0 KB) |",
        "",
        "7 images; unsplit and uncompressed, AP 29.4 on them.",
    ]


def test_a_size_that_no_point_fits_has_a_dash():
    small = {**RESULT, "cuts": [cut_to_json(SHALLOW)]}
    small["cuts"][0]["points"] = small["cuts"][0]["points"][1:]
    assert budgets(small).splitlines()[2] == "| dark2 | 50 | - | - | - | - | 25.0 (20.0 KB) |"


def test_the_choice_for_a_device_and_a_link_is_a_row_where_it_changes():
    costly = {**cut_to_json(SHALLOW), "cut": "p5", "mmacs_before": 400.0}  # no better: never chosen
    assert choices({"cuts": [costly, cut_to_json(DEEP), cut_to_json(SHALLOW)]}).splitlines() == [
        "| MMACs of the device | 2 KB | 4 KB | 8 KB | 16 KB | 32 KB |",
        "|---|---|---|---|---|---|",
        "| from 50 on | dark2 5.0 | dark2 5.0 | dark2 5.0 | dark2 5.0 | dark2 25.0 |",
        "| from 150 on | dark4 10.0 | dark4 20.0 | dark4 20.0 | dark4 21.0 | dark2 25.0 |",
    ]


def test_a_bundles_points_are_rows_without_times():
    point = {"mode": "split", "width": 1, "quality": 2, "bytes_mean": 5160.0, "bytes_p90": 6440.0}
    point |= {"ap": 34.04, "ap50": 51.1, "mmacs": 132.6}
    image = {**point, "mode": "image"}
    result = {"images": 50, "unsplit": {"ap": 38.9}, "points": [point, image]}
    assert bundle(result).splitlines()[2:] == [
        "| w1 q2 | 5.16 (6.44) | 34.0 | 51.1 | 133 |",
        "",
        "50 images; its unsplit detector, AP 38.9 on them.",
    ]
    assert bundle({**result, "unsplit": None}).splitlines()[-1] == "50 images."


def test_trained_cuts_stand_beside_untrained_ones_with_both_orders():
    row = {"bytes": 1500, "trained dark2": 10.04, "trained dark3": 30, "free dark2": 20, "free dark3": None}
    result = {"steps": 250, "batch_size": 8, "square": 256, "images": 50, "ranks": [row]}
    assert verified({**result, "points": [{"cut": "dark2"}, {"cut": "dark2"}, {"cut": "dark3"}]}).splitlines() == [
        "| KB a frame | dark2 | dark3 | trained, best first | without training |",
        "|---|---|---|---|---|",
        "| 1.5 | 10.0 (20.0) | 30.0 (-) | dark3, dark2 | dark2 |",
        "",
        "AP after 250 steps of 8 crops of 256 pixels at each cut (in brackets: without training), on 50 images.",
    ]
