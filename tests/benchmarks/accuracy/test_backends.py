"""Back ends of the encoder, measured side by side."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from benchmarks.__main__ import main
from benchmarks.accuracy.backends import differences
from benchmarks.accuracy.backends_tables import backends
from splitnet.letterbox import Letterbox
from tests.support.labelled_images import write_labelled

RESULT = {
    "bundle": "tiny-0 0123456789ab",
    "onnxruntime": "1.31.1",
    "images": 3,
    "machine": {"processor": "Some Core", "torch": "2.9.1"},
    "backends": [
        {"backend": "torch", "width": 1, "encode_cpu_ms_p50": 4.0, "of_torch": 1.0},
        {"backend": "onnxruntime", "width": 1, "encode_cpu_ms_p50": 1.84, "of_torch": 0.46},
        {"backend": "torch", "width": 2, "encode_cpu_ms_p50": 12.0, "of_torch": 1.0},
        {"backend": "onnxruntime", "width": 2, "encode_cpu_ms_p50": 6.0, "of_torch": 0.504},
    ],
    "points": [
        {"backend": "torch", "quality": 1, "symbols": 90_000, "differing": 0, "furthest": 0, "bytes_mean": 1234.0}
        | {"ap": 21.04, "ap50": 33.0},
        {"backend": "onnxruntime", "quality": 1, "symbols": 90_000, "differing": 2, "furthest": 1}
        | {"bytes_mean": 1234.1, "ap": 21.04, "ap50": 33.0},
        {"backend": "int8", "quality": 1, "symbols": 90_000, "differing": 900, "furthest": 3, "bytes_mean": 1300.0}
        | {"ap": 20.0, "ap50": 31.96},
    ],
}


@pytest.fixture(autouse=True)
def _answers_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def command(tmp_path, device, tiny_bundle):
    annotations = write_labelled(tmp_path / "val", device.manifest.class_names)
    return ["backends", "--bundle", tiny_bundle, "--images", annotations.parent, "--annotations", annotations]


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_every_back_end_is_measured_at_every_width_and_quality(command, tmp_path, capsys):
    out = tmp_path / "backends.json"
    assert run(*command, "--qualities", 0, 2, "--out", out) == 0
    result = json.loads(out.read_text())
    assert result.keys() >= {"bundle", "onnxruntime", "images", "commit", "machine"}
    names = ["torch", "onnxruntime"]
    assert [(row["width"], row["backend"]) for row in result["backends"]] == [
        (width, name) for width in (1, 2, 3, 4) for name in names
    ]
    assert all(row["of_torch"] == 1.0 for row in result["backends"] if row["backend"] == "torch")
    assert all(row["encode_cpu_ms_p50"] > 0 for row in result["backends"])
    assert [(row["backend"], row["quality"]) for row in result["points"]] == [(n, q) for n in names for q in (0, 2)]
    assert {row["symbols"] for row in result["points"]} == {result["points"][0]["symbols"]}
    assert [row["differing"] for row in result["points"][:2]] == [0, 0]
    assert all(row["furthest"] <= 1 for row in result["points"][2:4])
    assert all(row["bytes_mean"] > 0 and row["ap"] >= -1 for row in result["points"])
    assert "of_torch" in capsys.readouterr().out
    assert backends(result).count("\n| onnxruntime |") == 3


def test_a_quality_that_the_bundle_lacks_is_refused(command, capsys):
    assert run(*command, "--qualities", 0, 3) == 2
    assert "--qualities must be 0..2" in capsys.readouterr().err


def test_without_the_runtime_there_is_nothing_to_compare(command, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert run(*command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install slimsplit[onnxruntime]" in line


class Half:
    """An encoder whose symbols are given."""

    def __init__(self, *symbols: list[int]) -> None:
        self.manifest = SimpleNamespace(widths=2, fit=lambda *size_and_width: Letterbox.fit(*size_and_width[:2], 32))
        self.encoder = self
        self._symbols = [np.array(row, np.int16).reshape(1, 1, -1) for row in symbols]

    def latent(self, canvas, width):
        assert (canvas.shape, width) == ((32, 32, 3), 2)

    def quantise(self, latent, width, quality):
        return self._symbols[quality]


def test_differences_are_counted_over_all_images_for_each_quality(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        cv2.imwrite(str(path), np.zeros((40, 40, 3), np.uint8))
    halves = {"one": Half([0, 5, -7], [1, 1, 1]), "other": Half([0, 2, -6], [1, 1, 1])}
    found = differences(halves, paths, [0, 1])
    same = {"symbols": 6, "differing": 0, "furthest": 0}
    assert found == {"one": [same, same], "other": [{"symbols": 6, "differing": 4, "furthest": 3}, same]}


def test_the_tables_tell_time_symbols_bytes_and_accuracy():
    lines = backends(RESULT).splitlines()
    assert lines[0] == "| processor time, ms (of PyTorch's) | w1 | w2 |"
    assert lines[2:4] == ["| torch | 4.0 (1.00) | 12.0 (1.00) |", "| onnxruntime | 1.8 (0.46) | 6.0 (0.50) |"]
    assert lines[7:10] == [
        "| torch | q1 | none of 90,000 | 1.23 | 21.0 | 33.0 |",
        "| onnxruntime | q1 | 2 of 90,000 | 1.23 | 21.0 | 33.0 |",
        "| int8 | q1 | 1.00%, by 3 at most | 1.30 | 20.0 | 32.0 |",
    ]
    assert lines[-1].startswith("3 images, bundle tiny-0 0123456789ab, ONNX Runtime 1.31.1, PyTorch 2.9.1")
