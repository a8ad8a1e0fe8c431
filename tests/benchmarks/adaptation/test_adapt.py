"""The adaptation benchmark in simulated time, on a tiny bundle and a few drawn images."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from benchmarks.__main__ import _parser, main
from benchmarks.adaptation import adapt, machine_times
from benchmarks.adaptation import tables as adapt_tables
from benchmarks.adaptation.adapt import BENCHMARK, _line, _real, with_defaults
from benchmarks.adaptation.figures import frames_until_width, late_frames_after, seconds_until_best
from benchmarks.adaptation.links import Link, chosen_links
from benchmarks.adaptation.machine_times import MachineTimes, measured_here
from benchmarks.adaptation.simulation import FrameLog, Outcome
from benchmarks.harness.traces import steps
from edge_client.adaptation.policy import Decision
from edge_client.adaptation.profile import DeviceProfile
from edge_client.measuring.profiling import Effort
from splitnet.errors import ConfigError
from splitnet.operating_point import Codec, OperatingPoint
from tests.support.control_samples import LARGE, MIDDLE, PICTURE, SMALL

AP = {row.point: row.ap for row in (SMALL, MIDDLE, LARGE, PICTURE)}


ENCODE_MS = {f"w{width} q{quality}": 2.0 * width for width in (1, 2, 3, 4) for quality in (0, 1, 2)} | {"jpeg 75": 1.0}
TIMES = MachineTimes(
    DeviceProfile("this machine", "0" * 64, ENCODE_MS, 15.0), "onnxruntime", 9.0, "1 thread, plain", 0.0
)


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

    from splitnet.manifest import Accuracy, load_manifest
    from splitnet.measured_point import MeasuredPoint

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
    from tests.support.labelled_images import write_labelled

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(adapt, "measured_here", lambda bundle, images, points: TIMES)
    annotations = write_labelled(tmp_path / "pictures", load_manifest(measured_bundle).class_names)
    traces = tmp_path / "traces"
    traces.mkdir()
    (traces / "drive.csv").write_text("0,2\n3,0.5\n6,0\n")
    (traces / "README.md").write_text("no trace")
    out = tmp_path / "out" / "adapt.json"
    arguments = ["adapt", "--out", str(out), "--bundle", str(measured_bundle), "--traces", str(traces)]
    arguments += ["--images", str(annotations.parent), "--annotations", str(annotations), "--slowdown", "2"]
    chosen = [
        *("--generated", "0", "--deadlines", "200", "--fps", "10", "30", "--fixed", "0"),
        "--policies",
        "greedy-oracle",
        "adaptive",
        "image",
        "w2 q0",
        "fixed",
    ]
    drawn = ["--line-trace", "drive", "--line-seconds", "4"]
    assert main([*arguments, *chosen, *drawn]) == 0
    result = json.loads(out.read_text())
    assert [(row["fps"], row["policy"]) for row in result["runs"]] == [
        *((10.0, name) for name in ("greedy-oracle", "adaptive", "image", "w2 q0")),  # the manifest lacks the last one
        *((10.0, name) for name in ("w1 q0", "w4 q1", "jpeg 75")),
        *((30.0, name) for name in ("greedy-oracle", "adaptive", "image")),
    ]
    assert {row["slowdown"] for row in result["runs"]} == {2.0}
    assert "segments" not in result["runs"][0]
    assert result["device"] == {"encoder": "onnxruntime", "local_ms": 15.0}
    assert result["server"] == {"computed": "1 thread, plain", "ms": 9.0}
    assert {(row["trace"], row["family"]) for row in result["runs"]} == {("drive", "recorded")}
    ours = result["runs"][1]
    assert 0.5 < ours["met_share"] <= 1
    assert sum(ours["outcomes"].values()) == 60
    compared, faster = result["compared"]
    assert (compared["fps"], faster["fps"]) == (10.0, 30.0)
    best = next(row for row in result["pooled"] if row["policy"] == "best-fixed")
    assert best["lead_low"] <= best["lead_high"]
    assert result["targets"][0]["places"] == 1
    assert compared["met_share_of_greedy"] == ours["met_share_of_greedy"]
    assert [row["traces"] for row in result["worst"]] == ["all", "not tuned on"]
    (reaction,) = result["reactions"]
    assert reaction["late_frames_after_step_down"] <= 3
    assert reaction["decision_us_p50"] > 0
    images = {f"adapt-{what}-{theme}.png" for what in ("recorded", "run") for theme in ("light", "dark")}
    assert {path.name for path in out.parent.iterdir()} == {"adapt.json", *images}
    for make in (adapt_tables.compared, adapt_tables.policies, adapt_tables.summary, adapt_tables.figures):
        assert make(result)
    quick = BENCHMARK.run(_parser().parse_args([*arguments[:1], *arguments[3:], "--quick"]))
    assert [row["policy"] for row in quick["runs"]] == ["adaptive", "image", "see", "local", "greedy-oracle"]
    assert quick["pictures"] == 3


def test_each_side_is_measured_by_its_best_back_end(tiny_bundle, tmp_path, photo, monkeypatch, keep_threads):
    cv2.imwrite(str(tmp_path / "photo.png"), photo)
    monkeypatch.setattr(machine_times, "EFFORT", Effort(frames=1, seconds=60))
    monkeypatch.setattr(machine_times, "SERVER_ROUNDS", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    times = measured_here(tiny_bundle, tmp_path, [OperatingPoint(Codec.WEBP, 0, 33)])
    assert (times.encoder, times.profile.local_backend) == ("onnxruntime", "onnxruntime")
    assert {"w1 q0", "w4 q2", "webp 33"} <= times.profile.encode_ms.keys()
    assert times.server_ms > 0 and " thread" in times.server  # how many are fastest, the machine decides
    assert times.to_json()["encode_ms"]["webp 33"] > 0
    with pytest.raises(ConfigError, match="width"):
        measured_here(tiny_bundle, tmp_path, [OperatingPoint(Codec.RANS, 9, 0)])


def test_by_default_fresh_links_are_run_on_three_devices_at_two_rates_by_three_deadlines():
    options = with_defaults(_parser().parse_args(["adapt"]))
    assert (options.deadlines, options.fps, options.slowdown) == ((200.0, 300.0, 600.0), (10.0, 30.0), (1.0, 6.0, 14.0))
    assert (options.seconds, options.generated, options.seed, options.synthetic) == (60.0, 8, 1000, False)


def test_a_quick_look_keeps_what_was_asked_for():
    options = with_defaults(_parser().parse_args(["adapt", "--quick", "--policies", "see", "--seconds", "5"]))
    assert (options.policies, options.seconds, options.limit, options.deadlines) == (["see"], 5.0, 24, [200.0])


def test_a_folder_stands_for_its_traces_and_a_made_up_link_for_itself(tmp_path):
    (tmp_path / "b.csv").write_text("0,2\n9,0\n")
    (tmp_path / "a.up").write_text("0\n4\n1000\n")
    links = chosen_links([tmp_path], 0.0, 5.0, True)
    found = [(link.family, link.trace.name, link.trace.duration_s) for link in links]
    assert found[:2] == [("recorded", "a", 1.0), ("recorded", "b", 5.0)]
    assert [name for family, name, _ in found if family == "made-up"] == ["steps", "ramp", "steps-outages"]
    assert [link.is_tuned_on for link in links] == [False, False, True, True, True]


def test_a_link_that_is_over_before_the_start_is_left_out(tmp_path):
    (tmp_path / "long.csv").write_text("0,2\n9,0\n")
    (tmp_path / "short.csv").write_text("0,2\n3,0\n")
    assert [link.trace.name for link in chosen_links([tmp_path], 4.0, None, False)] == ["long"]
    with pytest.raises(ConfigError, match="no link lasts longer than 9 s"):
        chosen_links([tmp_path], 9.0, None, False)
    with pytest.raises(ConfigError, match="--seconds must be positive"):
        chosen_links([tmp_path], 0.0, 0.0, False)


def test_the_time_line_is_drawn_of_the_usual_link_or_of_the_first_one():
    usual, other = (Link("recorded", steps([1.0], 10.0, name)) for name in ("ATT-LTE-driving", "other"))
    assert _line(_parser().parse_args(["adapt"]), [other, usual]).name == "ATT-LTE-driving"
    assert _line(_parser().parse_args(["adapt"]), [other]).name == "other"
    with pytest.raises(ConfigError, match="--line-trace x is not among the traces: other"):
        _line(_parser().parse_args(["adapt", "--line-trace", "x"]), [other])
    with pytest.raises(ConfigError, match="earlier --line-from"):
        _line(_parser().parse_args(["adapt", "--line-trace", "other", "--line-from", "10"]), [other])


def test_a_real_link_has_defaults_of_its_own(tmp_path):
    options = _real(_parser().parse_args(["adapt", "--real", "--traces", str(tmp_path / "one.up")]))
    assert options.seconds == 60.0
    assert options.policies == ["adaptive", "split", "image", "local"]
    assert options.traces == [tmp_path / "one.up"]
    assert (options.fps, options.deadlines) == (10.0, [200.0, 300.0])
    given = _real(_parser().parse_args(["adapt", "--real", "--fps", "5", "--deadlines", "150", "--traces"]))
    assert (given.fps, given.deadlines, given.traces) == (5.0, [150.0], [])
