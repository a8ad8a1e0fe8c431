"""What a network in strips would send, and the tables of a classifier that is shared out."""

from __future__ import annotations

import torch

from benchmarks.groups.classification_tables import group_classification, group_features, group_filled, group_networks
from benchmarks.groups.segments import segment_bytes
from training.groups.teacher import Teacher, TeacherSpec

COSTS = {"parameters_per_device": 28_000, "mmacs_per_device": 2.94, "bytes_sent": 120.5, "latency_ms": 0.4}


def test_strips_exchange_the_rows_beside_each_border_of_every_convolution():
    teacher = Teacher(TeacherSpec((4, 6, 8), 1, 3)).eval()
    image = torch.zeros(1, 3, 32, 32)
    # 3x3 convolutions see 24x31, 4x15, 4x15, 6x7, 6x7 and 8x3 channels and columns; 2x2 ones half a row less: one.
    rows = 1 * 3 * 32 + 24 * 31 + 4 * 15 + 4 * 15 + 6 * 7 + 6 * 7 + 8 * 3
    assert segment_bytes(teacher, image, 1) == 0
    assert segment_bytes(teacher, image, 2) == 2 * 2 * rows
    assert segment_bytes(teacher, image, 4) == 3 * segment_bytes(teacher, image, 2)


def test_the_tables_show_whole_groups_and_lost_devices_apart():
    head = {"task": "classification", "method": "group, covering", "devices": 2, **COSTS}
    rows = [
        {**head, "lost": 0, "accuracy": 80.04, "worst": 80.04, "filled_by": "closed form"},
        {**head, "lost": 1, "accuracy": 70.0, "worst": 65.0, "filled_by": "mean"},
        {**head, "method": "teacher", "devices": 1, "lost": 0, "accuracy": 86.0, "latency_ms": 2.345},
    ]
    assert group_classification({"rows": rows}).splitlines()[2:] == [
        "| group, covering | 2 | 80.0 | 28,000 | 2.9 | 120 | 0.40 |",
        "| teacher | 1 | 86.0 | 28,000 | 2.9 | 120 | 2.35 |",
    ]
    assert group_filled({"rows": rows}).splitlines()[2:] == [
        "| group, covering | 2 | 0 | - | 80.0 | 80.0 |",
        "| group, covering | 2 | 1 | mean | 70.0 | 65.0 |",
    ]
    assert group_filled({"rows": rows[2:]}) == "Not measured yet: no group has been trained.\n"


def test_partitions_of_the_teachers_own_features_have_a_row_for_each_rule_and_size():
    head = {"method": "features, random", "devices": 4, "filters": 256, **COSTS, "parameters_per_device": None}
    lost = {"closed form": 85.0, "network": 84.0, "mean": 80.0}
    rows = [
        {**head, "lost": 0, "accuracy": 86.0, "worst": 86.0, "filled_by": "closed form"},
        *({**head, "lost": 1, "accuracy": one, "worst": one - 1, "filled_by": name} for name, one in lost.items()),
    ]
    assert group_features({"rows": rows}).splitlines()[2:] == [
        "| random | 4 | 256 | 86.0 | 85.0 (84.0) | 84.0 | 80.0 |"
    ]
    assert group_networks({"networks": [{"parts": 4, **COSTS}]}).splitlines()[2:] == ["| 4 | 28,000 | 2.9 | 0.40 |"]
