"""The adaptation benchmark in simulated time, on a tiny bundle and a few drawn pictures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import frame_bank
from benchmarks.__main__ import main
from benchmarks.adapt_figures import frames_until_width, late_frames_after, seconds_until_best
from benchmarks.simulation import FrameLog, Outcome
from edge_client.policy import Decision
from splitnet.operating_point import Codec, OperatingPoint
from tests.control_samples import LARGE, MIDDLE, PICTURE, SMALL

AP = {row.point: row.ap for row in (SMALL, MIDDLE, LARGE, PICTURE)}


def log(second: float, point: OperatingPoint, total_ms: float = 100.0, deadline_ms: float = 200.0) -> FrameLog:
    outcome = Outcome.LATE if total_ms > deadline_ms else Outcome.MET
    return FrameLog(round(10 * second), second, outcome, Decision(point), second, 1000, total_ms)


def test_late_frames_are_counted_until_one_is_in_time():
    frames = [log(9.9, LARGE.point, 150.0), log(10.0, LARGE.point, 300.0), log(10.1, LARGE.point, 250.0)]
    frames += [log(10.2 + i / 10, SMALL.point) for i in range(10)]
    assert late_frames_after(frames, 10.0) == 2
    assert late_frames_after(frames[3:], 10.0) == 0


def test_the_new_best_is_reached_with_nine_tenths_of_its_accuracy():
    frames = [log(i / 10, SMALL.point) for i in range(100, 107)] + [log(i / 10, PICTURE.point) for i in range(107, 200)]
    assert seconds_until_best(frames, AP, 10.0, 20.0) == pytest.approx(0.7)
    assert seconds_until_best([], AP, 10.0, 20.0) == float("inf")


def test_the_width_follows_when_it_is_that_of_the_end():
    frames = [log(i / 10, LARGE.point) for i in range(100, 104)] + [log(i / 10, MIDDLE.point) for i in range(104, 200)]
    assert frames_until_width(frames, 10.0, 20.0) == 4


@pytest.fixture
def measured_bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """Return a tiny bundle with measured points."""
    import shutil

    from splitnet.manifest import Accuracy, MeasuredPoint, load_manifest

    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    manifest = load_manifest(folder)
    points = tuple(
        MeasuredPoint(codec.mode, codec, width, quality, ap, 2 * ap, size, 1.2 * size, encode_ms, 1.0)
        for codec, width, quality, ap, size, encode_ms in (
            (Codec.RANS, 1, 0, 10.0, 400.0, 2.0),
            (Codec.RANS, manifest.widths, 1, 14.0, 900.0, 4.0),
            (Codec.JPEG, 0, 75, 20.0, 4000.0, 1.0),
        )
    )
    manifest.with_measurements(Accuracy(25.0, 40.0), points).write(folder)
    return folder


def test_every_trace_deadline_and_policy_has_a_row(measured_bundle, tmp_path, monkeypatch):
    from splitnet.manifest import load_manifest
    from tests.labelled_pictures import write_labelled

    monkeypatch.setattr(frame_bank, "FOLDER", tmp_path / "runs")
    annotations = write_labelled(tmp_path / "pictures", load_manifest(measured_bundle).class_names)
    trace = tmp_path / "drive.csv"
    trace.write_text("0,2\n3,0.5\n6,0\n")
    out = tmp_path / "adapt.json"
    arguments = ["adapt", "--out", str(out), "--bundle", str(measured_bundle), "--traces", str(trace)]
    arguments += ["--images", str(annotations.parent), "--annotations", str(annotations)]
    arguments += [
        "--seconds",
        "6",
        "--deadlines",
        "200",
        "--slowdown",
        "2",
        "--policies",
        "oracle",
        "adaptive",
        "fixed",
    ]
    assert main(arguments) == 0
    assert main(arguments) == 0  # now with the bank from its file
    result = json.loads(out.read_text())
    assert [row["policy"] for row in result["runs"]][:2] == ["oracle", "adaptive"]
    assert {row["trace"] for row in result["runs"]} == {"drive"}
    ours = result["runs"][1]
    assert 0.5 < ours["met_share"] <= 1
    assert sum(ours["outcomes"].values()) == 60
    (reaction,) = result["reactions"]
    assert reaction["late_frames_after_step_down"] <= 3
    assert reaction["decision_us_p50"] > 0
