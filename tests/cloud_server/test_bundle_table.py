"""The output of `cloud-server models`."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cloud_server.__main__ import main
from cloud_server.bundle_table import as_text, describe
from splitnet.bundle import add_local_detector
from splitnet.manifest import Accuracy, FileEntry, LocalDetector, load_manifest
from splitnet.measured_point import MeasuredPoint
from splitnet.nn.yolox.network import YOLOX
from splitnet.operating_point import Codec, Mode


@pytest.fixture
def measured(tiny_bundle: Path, tmp_path: Path) -> Path:
    """Return a bundle with figures."""
    folder = shutil.copytree(tiny_bundle, tmp_path / "measured")
    points = (
        MeasuredPoint(Mode.SPLIT, Codec.RANS, 4, 2, 26.04, 41.0, 3500.0, 4100.0, 12.3, 310.0),
        MeasuredPoint(Mode.IMAGE, Codec.JPEG, 0, 50, 27.5, 43.0, 14_000.0, 19_000.0, 2.0, 0.0),
    )
    load_manifest(folder).with_measurements(Accuracy(29.3, 45.1), points).write(folder)
    return folder


def test_a_description_has_the_size_of_each_half_on_disk(tiny_bundle):
    files = describe(tiny_bundle)["files"]
    assert files == {path.name: path.stat().st_size for path in sorted(tiny_bundle.glob("*.safetensors"))}


def test_a_devices_copy_is_described_with_the_server_half_missing(tiny_bundle, tmp_path):
    copy = shutil.copytree(tiny_bundle, tmp_path / "device")
    (copy / "server.safetensors").unlink()
    assert describe(copy)["files"]["server.safetensors"] is None
    assert "server.safetensors missing" in as_text([describe(copy)])


def test_the_table_shows_the_measured_operating_points(measured):
    text = as_text([describe(measured)])
    assert "unsplit AP        29.3" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["w4", "q2", "26.0", "41.0", "3.50", "4.10", "12.3", "310.0"] in rows
    assert ["jpeg", "50", "27.5", "43.0", "14.00", "19.00", "2.0", "0.0"] in rows


def test_dominated_points_are_marked(measured):
    manifest = load_manifest(measured)
    good, picture = manifest.points
    costly = replace(good, width=3, ap=26.0, bytes_mean=3600.0)  # finds less with more bytes
    cheap = replace(good, width=1, ap=20.0, mmacs=60.0)  # finds less, but costs less
    manifest.with_measurements(manifest.unsplit, (good, costly, cheap, picture)).write(measured)
    found = describe(measured)
    assert [point["dominated"] for point in found["points"]] == [False, True, False, False]
    rows = [line.split() for line in as_text([found]).splitlines()]
    assert [row[:2] for row in rows if row[-1:] == ["dominated"]] == [["w3", "q2"]]


def test_the_table_says_what_the_bundle_is(tiny_bundle):
    text = as_text([describe(tiny_bundle)])
    manifest = load_manifest(tiny_bundle)
    for fact in ("yolox-nano, split after dark3", "64x64, 80 classes", "4 widths x 3 qualities"):
        assert fact in text
    assert manifest.digest[:12] in text and "not measured yet" in text


def test_the_command_prints_json(measured, capsys):
    assert main(["models", str(measured), "--json"]) == 0
    (bundle,) = json.loads(capsys.readouterr().out)
    assert bundle["digest"] == load_manifest(measured).digest
    assert bundle["points"][0]["mode"] == "split" and bundle["points"][0]["bytes_mean"] == 3500.0


def test_the_command_prints_a_table(tiny_bundle, capsys):
    assert main(["models", str(tiny_bundle)]) == 0
    assert capsys.readouterr().out.startswith("tiny-0\n")


def test_the_command_refuses_a_folder_that_is_not_there(tmp_path, capsys):
    assert main(["models", str(tmp_path / "nowhere")]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_what_a_device_runs_alone_is_named_with_its_own_figures(measured):
    assert "device alone      yolox-nano, AP 29.3" in as_text([describe(measured)])
    manifest = load_manifest(measured)
    known = LocalDetector("yolox-nano", 96, manifest.class_names, FileEntry("", 0), Accuracy(24.1, 39.0), 55.4)
    add_local_detector(measured, YOLOX("yolox-nano", len(manifest.class_names)), known)
    found = describe(measured)
    assert found["local"] == {
        "detector": "yolox-nano",
        "input_size": 96,
        "accuracy": {"ap": 24.1, "ap50": 39.0},
        "mmacs": 55.4,
    }
    assert found["files"]["local.safetensors"] == (measured / "local.safetensors").stat().st_size
    assert "device alone      yolox-nano, AP 24.1, 55 MMACs" in as_text([found])


def test_a_groups_bundle_says_for_how_many_devices_it_is(tiny_group, capsys):
    described = describe(tiny_group)
    assert (described["group"], described["task"], described["classes"]) == (3, "detection", 80)
    assert described["files"] == {path.name: path.stat().st_size for path in tiny_group.glob("*.safetensors")}
    assert main(["models", str(tiny_group)]) == 0
    assert "  group             3 devices, detection\n" in capsys.readouterr().out
