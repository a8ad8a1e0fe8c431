"""Kinds of encoders compared: AP at equal computation and bytes exactly, and a whole run on tiny bundles."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from benchmarks.__main__ import main
from benchmarks.accuracy import kinds
from benchmarks.accuracy.kinds_figures import Split, alone_rows, equal_rows
from benchmarks.accuracy.kinds_tables import alone as alone_table
from benchmarks.accuracy.kinds_tables import kinds as kinds_table
from splitnet.manifest import load_manifest
from splitnet.measured_point import MeasuredPoint
from splitnet.operating_point import Codec, Mode
from tests.support.labelled_images import write_labelled
from tests.support.tiny_bundle import write_tiny_bundle

BASE = MeasuredPoint(Mode.SPLIT, Codec.RANS, 1, 0, 10.0, 20.0, 1000.0, 1100.0, 5.0, 50.0)


def point(mmacs: float, size: float, ap: float, width: int = 1) -> MeasuredPoint:
    return replace(BASE, width=width, mmacs=mmacs, bytes_mean=size, ap=ap)


SLIM = Split(
    "slim",
    "slimmable",
    (point(50, 1000, 10), point(50, 4000, 20), point(100, 2000, 18, 2), point(100, 4000, 24, 2)),
)
THIN = Split("thin", "ensemble", (point(51.5, 500, 8), point(51.5, 2000, 16), point(110, 4000, 30, 2)))
ALONE = Split("w1-alone", "slimmable", (point(50, 2000, 15.5),))


def test_accuracy_lies_straight_over_the_logarithm_of_the_bytes_on_the_front():
    assert SLIM.ap_at(50, 2000) == pytest.approx(15.0)
    assert SLIM.ap_at(50, 1000) == 10.0
    assert SLIM.ap_at(50, 9000) == 20.0  # the finest point takes fewer


def test_what_cannot_be_so_small_or_so_cheap_has_no_accuracy():
    assert SLIM.ap_at(50, 999) is None
    assert SLIM.ap_at(20, 5000) is None


def test_a_cheaper_width_counts_where_it_is_better():
    assert SLIM.ap_at(100, 1000) == 10.0  # the wide one has nothing so small
    assert SLIM.ap_at(100, 4000) == 24.0


def test_three_percent_of_computation_are_forgiven():
    assert THIN.ap_at(50, 2000) == 16.0
    assert THIN.ap_at(49.9, 2000) is None


def test_rows_are_the_costs_of_the_first_bundles_widths_at_each_size():
    assert equal_rows([SLIM, THIN], [4000, 2000]) == [
        {"mmacs": 50, "bytes": 2000, "slim": 15.0, "thin": 16.0},
        {"mmacs": 50, "bytes": 4000, "slim": 20.0, "thin": 16.0},
        {"mmacs": 100, "bytes": 2000, "slim": 18.0, "thin": 16.0},
        {"mmacs": 100, "bytes": 4000, "slim": 24.0, "thin": 16.0},
    ]


def test_a_point_trained_alone_is_compared_at_its_own_computation_and_bytes():
    row = {"alone": "w1-alone", "bundle": "slim", "mmacs": 50, "bytes": 2000, "ap_alone": 15.5, "ap": 15.0, "loss": 0.5}
    assert alone_rows([SLIM], [ALONE]) == [row]
    smaller = replace(ALONE, points=(point(50, 300, 9.0),))
    assert [(row["ap"], row["loss"]) for row in alone_rows([SLIM], [smaller])] == [(None, None)]


def test_points_trained_alone_are_compared_with_every_bundle_of_their_kind_only():
    longer = replace(SLIM, name="longer")
    thin = replace(ALONE, name="thin-alone", kind="ensemble", points=THIN.points[:1])
    rows = alone_rows([SLIM, THIN, longer], [ALONE, thin])
    pairs = [("slim", "w1-alone"), ("thin", "thin-alone"), ("longer", "w1-alone")]
    assert [(row["bundle"], row["alone"]) for row in rows] == pairs


def test_a_bundle_says_over_which_range_it_goes():
    row = SLIM.row()
    assert (row["widths"], row["mmacs_ratio"], row["bytes_ratio"]) == (2, 2.0, 4.0)
    assert (row["mmacs_from"], row["mmacs_to"], row["bytes_from"], row["bytes_to"]) == (50, 100, 1000, 4000)


def test_the_tables_name_kinds_and_bundles_and_leave_out_what_is_not_there():
    result = {
        "images": 3,
        "unsplit_ap": 28.71,
        "bundles": [{**split.row(), "dominated": 1} for split in (SLIM, THIN)],
        "equal": [{"mmacs": 50.4, "bytes": 500, "slim": None, "thin": 8.04}],
        "alone": alone_rows([SLIM], [ALONE]),
    }
    table = kinds_table(result)
    assert "| device MMACs | KB a frame | slimmable (`slim`) | ensemble (`thin`) |" in table
    assert "| 50 | 0.5 | - | 8.0 |" in table
    assert "3 images; unsplit, AP 28.7 on them." in table
    assert "| slimmable (`slim`) | 50 to 100 (2.0 times) | 1.00 to 4.00 (4.0 times) | 1 |" in table
    assert "| `w1-alone` | `slim` | 50 | 2.00 | 15.5 | 15.0 | 0.5 |" in alone_table(result)


@pytest.fixture
def bundles(tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the words of a run on two bundles and labelled images."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_tiny_bundle(tmp_path / "other", seed=1)
    labelled = write_labelled(tmp_path / "labelled", load_manifest(tiny_bundle).class_names)
    images = ["--images", str(labelled.parent), "--annotations", str(labelled), "--threads", "1", "--limit", "1"]
    return ["kinds", "--bundles", str(tiny_bundle), str(tmp_path / "other"), *images]


def test_a_whole_run_prints_a_table_writes_the_figures_and_draws_them(bundles, tmp_path, capsys):
    words = [word for word in bundles if word != str(tmp_path / "other")]
    out = tmp_path / "results" / "slimmable.json"
    assert main([*words, "--alone", str(tmp_path / "other"), "--bytes", "100", "90000", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert {"commit", "machine", "images", "unsplit_ap"} <= set(result)
    assert [(row["bundle"], row["kind"], row["widths"]) for row in result["bundles"]] == [("tiny-0", "ensemble", 4)]
    assert [row["bytes"] for row in result["equal"]] == [100, 90000] * 4
    assert all(set(row) == {"mmacs", "bytes", "tiny-0"} for row in result["equal"])
    assert {row["alone"] for row in result["alone"]} == {"tiny-1"}
    assert len(result["points"]) == 2 * 12
    assert "tiny-1" in capsys.readouterr().out
    for name in ("light", "dark"):
        assert cv2.imread(str(out.with_name(f"slimmable-{name}.png"))).shape[1] == 1200


def test_two_bundles_of_one_name_are_refused(bundles, tiny_bundle, capsys):
    assert main([*bundles, "--alone", str(tiny_bundle)]) == 2
    assert "rename one of them" in capsys.readouterr().err


def test_bundles_of_other_classes_are_refused(bundles, tmp_path, capsys, monkeypatch):
    first = load_manifest(tmp_path / "other")
    other = replace(first, name="others", class_names=first.class_names[:-1])
    monkeypatch.setattr(kinds, "load_manifest", lambda folder: other if folder.name == "other" else first)
    assert main(bundles) == 2
    assert "other classes than" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [(["--limit", "0"], "--limit"), (["--threads", "-1"], "--threads"), (["--bytes", "0"], "--bytes")],
)
def test_what_would_fail_later_is_said_at_once(bundles, capsys, more, words):
    assert main([*bundles, *more]) == 2
    assert f"{words} must be" in capsys.readouterr().err
