"""The benchmark on real links: its commands and files exactly, and a short run with real processes where it can be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import pytest

from benchmarks.adaptation import real as adapt_real
from benchmarks.adaptation.namespaces import available
from benchmarks.adaptation.real import (
    RealRun,
    RealSettings,
    client_command,
    link_csv,
    real_figures,
    run_real,
    without_streams,
)
from benchmarks.harness.run_trace import FrameRecord, link_beside, read_run
from benchmarks.harness.traces import read_csv, steps
from splitnet.errors import ConfigError
from splitnet.manifest import Accuracy, load_manifest

REASON = available()
LINK = steps([2.0, 1.0], 10.0, "two-levels")


@pytest.fixture
def images(tmp_path, photo):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.jpg"), photo)
    return folder


class FakeBank:
    """Finds an AP of 21.5 in everything, and remembers what it was asked."""

    images = 3

    def __init__(self) -> None:
        self.asked = []

    def effective_ap(self, outcomes) -> Accuracy:
        self.asked += outcomes
        return Accuracy(21.5, 40.0)


def option(command: list[str], name: str) -> str:
    return command[command.index(name) + 1]


def test_a_mode_and_a_fixed_point_are_what_a_user_would_type(tmp_path):
    settings = RealSettings(tmp_path, tmp_path, fps=5.0)
    command = client_command("10.77.0.2:1", RealRun(LINK, 200.0, "adaptive"), settings, tmp_path / "run.jsonl")
    assert command[:4] == ["edge_client", "run", "--server", "10.77.0.2:1"]
    assert option(command, "--mode") == "auto"
    assert option(command, "--deadline-ms") == "200"
    assert option(command, "--fps") == "5"
    assert "--loop" in command and "--schedule" not in command
    command = client_command("10.77.0.2:1", RealRun(LINK, 200.0, "w4 q2"), settings, tmp_path / "run.jsonl")
    assert option(command, "--schedule") == "w4 q2"
    assert "--mode" not in command


def test_a_policy_that_needs_the_future_cannot_be_run(tmp_path):
    with pytest.raises(ConfigError, match="'oracle' is not an operating point"):
        client_command("h:1", RealRun(LINK, 200.0, "oracle"), RealSettings(tmp_path, tmp_path), tmp_path)


def test_the_device_knows_of_no_video_codec(tmp_path, tiny_bundle):
    values = json.loads((tiny_bundle / "manifest.json").read_text())
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    (bundle / "manifest.json").write_text(json.dumps({**values, "stream_points": [{"mode": "image"}]}))
    device = load_manifest(without_streams(bundle, tmp_path / "device"))
    assert device.stream_points == ()
    assert device.digest == load_manifest(tiny_bundle).digest
    assert {path.name for path in (tmp_path / "device").iterdir()} == {path.name for path in tiny_bundle.iterdir()}


def test_a_run_s_name_is_a_file_s():
    assert RealRun(LINK, 200.0, "w4 q2").name == "two-levels-200ms-w4-q2"


def test_what_the_link_could_carry_is_kept_in_seconds_of_the_run(tmp_path):
    path = tmp_path / "run.link.csv"
    path.write_text(link_csv(LINK, 4.0))
    kept = read_csv(path)
    rates_mbps = [kept.capacity_bps(second, second + 1) / 1e6 for second in (0.0, 3.0, 5.0, 12.0, 16.0)]
    assert rates_mbps == pytest.approx([0.0, 0.0, 2.0, 2.0, 1.0], abs=0.01)
    assert link_beside(tmp_path / "run.jsonl") == path


def test_the_figures_are_those_of_the_simulation_with_the_client_s_own_outcomes():
    bank = FakeBank()
    frames = [
        FrameRecord(0.0, 0, "answered", 200.0, 2000, 100.0, "w4 q2", "split"),
        FrameRecord(0.1, 1, "local", 200.0, 0, 150.0, "local", "local"),
        FrameRecord(0.2, 2, "lost", 200.0, 4000, None, "jpeg 50", "image"),
        FrameRecord(0.3, 3, "overtaken", 200.0),
    ]
    figures = real_figures(frames, bank, seconds=0.4)
    assert [None if point is None else str(point) for _, point in bank.asked] == ["w4 q2", "local", None, None]
    assert (figures["ap"], figures["met_share"], figures["kilobytes_mean"]) == (21.5, 0.5, 3.0)
    assert figures["outcomes"] == {"answered": 1, "local": 1, "lost": 1, "overtaken": 1}
    assert real_figures([], bank, seconds=0.4) == {"outcomes": {}}


def test_every_image_shown_must_be_labelled(images, monkeypatch):
    monkeypatch.setattr(adapt_real, "available", lambda: None)
    (images / "3.jpg").write_bytes((images / "0.jpg").read_bytes())
    with pytest.raises(ConfigError, match="holds 4 images, 3 of them labelled"):
        list(run_real([], RealSettings(images, images), FakeBank()))


@pytest.mark.parametrize("wrong", [{"seconds": 0.0}, {"fps": 0.0}, {"delay_ms": -1.0}, {"queue_ms": 0.0}])
def test_settings_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(ConfigError, match="must be positive"):
        RealSettings(tmp_path, tmp_path, **wrong)


def test_where_there_are_no_namespaces_it_says_why(images, monkeypatch):
    monkeypatch.setattr(adapt_real, "available", lambda: "network namespaces need Linux")
    with pytest.raises(ConfigError, match="need Linux; without --real the same is simulated"):
        list(run_real([], RealSettings(images, images), FakeBank()))


@pytest.mark.long
@pytest.mark.skipif(REASON is not None, reason=str(REASON))
def test_a_short_run_with_real_processes_gives_a_row_and_its_trace(tmp_path, tiny_bundle, images, monkeypatch):
    monkeypatch.setattr(adapt_real, "WARM_UP_S", 1.0)
    settings = RealSettings(tiny_bundle, images, seconds=2.0, delay_ms=5.0)
    runs = [RealRun(LINK, 400.0, "w1 q0")]
    (row,) = run_real(runs, settings, FakeBank(), tmp_path / "kept")
    assert (row["trace"], row["deadline_ms"], row["policy"]) == ("two-levels", 400.0, "w1 q0")
    assert row["ap"] == 21.5
    assert 10 <= sum(row["outcomes"].values()) <= 21
    assert row["frames"]["split"] >= 1
    kept = tmp_path / "kept" / "two-levels-400ms-w1-q0.jsonl"
    assert len(read_run(kept)) > sum(row["outcomes"].values())
    assert json.loads((tmp_path / "kept" / "rows.jsonl").read_text()) == row
    assert link_beside(kept).exists()
