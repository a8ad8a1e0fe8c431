"""The benchmark of a device's choices: which points stand for a width, and a whole run on a tiny bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.accuracy.choices import worthwhile
from benchmarks.accuracy.choices_tables import choices
from cloud_server.compute.onnx_module import is_installed
from splitnet.errors import ConfigError
from splitnet.manifest import Accuracy, load_manifest
from splitnet.measured_point import MeasuredPoint
from splitnet.operating_point import Codec, Mode
from tests.support.labelled_images import write_labelled
from tests.support.tiny_bundle import write_tiny_bundle


def point(width: int, quality: int, ap: float, size: float, codec: Codec = Codec.RANS) -> MeasuredPoint:
    mode = Mode.SPLIT if width else Mode.IMAGE
    return MeasuredPoint(mode, codec, width, quality, ap, ap, size, size, 1.0, 1.0)


def test_more_bytes_are_taken_while_a_doubling_gains_two_ap():
    points = [point(1, 0, 20.0, 500), point(1, 1, 22.5, 1000), point(1, 2, 24.4, 2000), point(2, 0, 25.0, 900)]
    assert [(one.width, one.quality) for one in worthwhile(points)] == [(1, 1), (2, 0)]


def test_each_image_codec_stands_for_itself_before_the_widths():
    points = [point(1, 0, 20.0, 500), point(0, 30, 24.0, 9000, Codec.WEBP), point(0, 30, 24.0, 12000, Codec.JPEG)]
    assert [one.codec for one in worthwhile(points)] == [Codec.JPEG, Codec.WEBP, Codec.RANS]


def test_a_bundle_that_nobody_measured_is_refused():
    with pytest.raises(ConfigError, match="was not measured: run `python -m training evaluate"):
        worthwhile([])


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    write_tiny_bundle(folder)
    points = (point(1, 0, 1.0, 300), point(4, 2, 2.0, 900), point(0, 50, 3.0, 4000, Codec.JPEG))
    load_manifest(folder).with_measurements(Accuracy(3.0, 4.0), points).write(folder)
    return folder


@pytest.mark.skipif(not is_installed(), reason="needs ONNX Runtime")
def test_all_ways_are_measured_on_the_same_images(measured, tmp_path):
    names = load_manifest(measured).class_names
    labels = write_labelled(tmp_path / "labelled", names)
    out = tmp_path / "choices.json"
    where = ["--images", str(labels.parent), "--annotations", str(labels)]
    assert main(["choices", "--bundle", str(measured), *where, "--out", str(out)]) == 0
    record = json.loads(out.read_text())
    rows = {row["name"]: row for row in record["choices"]}
    assert list(rows) == ["yolox-nano", "jpeg 50", "w1 q0", "w4 q2"]
    assert [row["kind"] for row in rows.values()] == ["local", "image", "split", "split"]
    assert rows["yolox-nano"]["bytes_mean"] == 0 < rows["w1 q0"]["bytes_mean"] < rows["jpeg 50"]["bytes_mean"]
    assert rows["jpeg 50"]["device_mmacs"] == 0 < rows["w1 q0"]["device_mmacs"] < rows["w4 q2"]["device_mmacs"]
    assert all(row["device_ms_p50"] > 0 for row in rows.values())
    assert record["server"]["split_ms_p50"] > 0 and record["server"]["of_unsplit"] > 0
    table = choices(record)
    assert "The server's part of a frame, on one core: " in table
    assert "| split | `w4 q2` |" in table and f"bundle {record['bundle']}; all in one run, by ONNX Runtime." in table


@pytest.mark.parametrize("text", ["yolox-nano", "alexnet=weights.onnx"])
def test_a_further_detector_has_a_name_and_a_file(measured, tmp_path, capsys, text):
    labels = write_labelled(tmp_path / "labelled", load_manifest(measured).class_names)
    where = ["--images", str(labels.parent), "--annotations", str(labels)]
    assert main(["choices", "--bundle", str(measured), *where, "--local", text]) == 2
    assert f"--local {text}: give NAME=FILE" in capsys.readouterr().err
