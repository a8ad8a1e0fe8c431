"""Figures of groups of devices, and the tables made of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.groups.detection import _sets
from benchmarks.groups.device_tables import group_detection, group_devices, group_joins, group_lost
from benchmarks.groups.devices import _fixed, _shown, figures
from benchmarks.groups.join_cost import join_cost
from splitnet.errors import ConfigError
from splitnet.groups.group_manifest import load_group_manifest


def line(file: str, label: str, parts: list[int], ms: float = 100.0, size: int = 50) -> dict[str, object]:
    found = [{"label": label, "score": 0.9}, {"label": "ship", "score": 0.1}]
    costs = {"bytes": size, "encode_ms": 4.0, "end_to_end_ms": ms, "late": ms > 150}
    return {"file": file, "detections": found, "parts": parts, **costs}


def test_figures_of_a_group_are_those_of_its_lines():
    owner = [line("00000-cat.jpg", "cat", [1, 2]), line("00001-dog.jpg", "cat", [1], ms=300.0)]
    found = figures(owner, [owner, [line("", "", [], size=70)] * 2], [1, 2])
    assert (found["accuracy"], found["late"], found["parts_used_mean"]) == (50.0, 1, 1.5)
    assert (found["bytes_sent"], found["bytes_sent_per_device"]) == (120.0, 70.0)
    assert (found["latency_ms"], found["encode_ms_p50"], found["frames"]) == (200.0, 4.0, 2)


def test_images_that_say_no_class_give_no_accuracy():
    assert figures([line("000012.jpg", "cat", [1])], [[]], [1])["accuracy"] is None


def test_images_of_all_classes_are_shown_in_turn(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for number in range(3):
            cv2.imwrite(str(tmp_path / "in" / name / f"{number}.png"), np.zeros((4, 4, 3), np.uint8))
    shown = _shown(tmp_path / "shown", tmp_path / "in", 4)
    assert sorted(path.name for path in shown.iterdir()) == [
        "00000-cat.png",
        "00001-dog.png",
        "00002-cat.png",
        "00003-dog.png",
    ]
    with pytest.raises(ConfigError, match="holds no images"):
        _shown(tmp_path / "none", Path(tmp_path / "shown" / "nothing"), 4)


def test_what_is_known_of_parts_is_the_largest_of_each_figure(tiny_group):
    found = _fixed(tiny_group, load_group_manifest(tiny_group))
    assert (found["devices"], found["task"], found["method"]) == (3, "detection", "group group-0")
    sizes = [(tiny_group / f"part-{part}.safetensors").stat().st_size for part in (1, 2, 3)]
    assert found["bytes_on_disk"] == max(sizes) + (tiny_group / "manifest.json").stat().st_size
    assert found["parameters_per_device"] == 414 and found["mmacs_per_device"] > 0


def test_joining_is_measured_for_all_parts_of_a_frame():
    found = join_cost(2, frames=20)
    assert found["devices"] == 2 and 0 < found["join_ms_p50"] <= found["join_ms_p99"]


def test_sets_of_lost_parts_are_of_every_size_and_few():
    sizes = [len(one) for one in _sets(4)]
    assert sizes == [0, 1, 1, 1, 1, 2, 2, 3, 3]


def test_tables_of_groups():
    row = {"method": "group g", "devices": 2, "parameters_per_device": 12345, "mmacs_per_device": 1.5, "lost": 0}
    row |= {"bytes_on_disk": 51_400, "memory_over_empty_mb": 7.4, "bytes_sent_per_device": 97.2, "encode_ms_p50": 2.25}
    row |= {"latency_ms": 20.4, "latency_ms_p95": 31.0, "frames": 200, "late": 1, "accuracy": 88.25}
    row |= {"parts_used_mean": 0.96}
    result = {"rows": [row, {**row, "lost": 1, "accuracy": None}], "joins": [join_cost(2, 10) | {"join_ms_p50": 0.05}]}
    assert group_devices(result).splitlines()[2:] == ["| group g | 2 | 12,345 | 1.5 | 51 | 7 | 97 | 2.2 | 20 | 31 |"]
    assert group_lost(result).splitlines()[2:] == [
        "| group g | 2 | 0 | 200 | 1.0 of 2 | 99.5 % | 88.2 % | 20 |",
        "| group g | 2 | 1 | 200 | 1.0 of 1 | 99.5 % | - | 20 |",
    ]
    assert group_joins(result).splitlines()[2].startswith("| 2 | 0.050 | ")
    found = {"method": "parts", "quality": 5, "devices": 4, "lost": 1, "lost_parts": "2", "mmacs_per_device": 14.9}
    found |= {"bytes_sent": 1234.5, "accuracy": 20.04, "ap50": 30.06}
    assert group_detection({"rows": [found]}).splitlines()[2] == (
        "| parts, quality 5 | 4 | 1 (2) | 14.9 | 1,234 | 20.0 | 30.1 |"
    )
