"""The tables of docs/own-detector.md."""

from __future__ import annotations

from benchmarks.accuracy.own_detector_tables import guide, learning_curve, training_cost

GUIDE = {
    "pictures": 200,
    "evaluated": 40,
    "load_before": 1.24,
    "load_after": 2.0,
    "minutes": 21.5,
    "cpu_minutes": 33.25,
    "unsplit_ap": 40.04,
    "best": "w4 q7",
    "best_ap": 39.5,
    "best_bytes": 2345.6,
    "answered": 198,
    "machine": {"cores": 2, "processor": "Example 3000"},
    "steps": [
        {"step": "convert", "seconds": 3.0, "cpu_seconds": 2.9},
        {"step": "detector", "seconds": 720.0, "cpu_seconds": 1200.0},
    ],
}
STEP = {"model": "yolox-s", "training": "detector", "square": 640, "batch_size": 2, "cpu_seconds": 8.4}
STEP |= {"estimated_gflop": 159.6, "memory_gb": 1.24, "estimated_gb": 0.93}


def test_every_step_of_the_guide_is_a_row_and_what_came_of_it_is_said():
    assert guide(GUIDE).splitlines() == [
        "| step | minutes by the clock | of processor time |",
        "|---|---|---|",
        "| convert | 0.1 | 0.0 |",
        "| detector | 12.0 | 20.0 |",
        "| **together** | 21.5 | 33.2 |",
        "",
        "200 images, 2 cores of an Example 3000, which had other work: load 1.2 before and 2.0 after. The unsplit "
        "detector has AP 40.0 on the 40 images that were held out, the split one AP 39.5 at its best point, w4 q7, "
        "with 2.3 KB a frame. Of the 200 frames 198 were answered in time.",
    ]


def test_every_evaluation_of_a_training_is_a_row():
    result = {"evaluations": [{"step": 500, "ap": 1.26, "ap50": 2.93}, {"step": 1000, "ap": 6.22, "ap50": 11.74}]}
    assert learning_curve(result).splitlines() == [
        "| steps | AP | AP50 |",
        "|---|---|---|",
        "| 500 | 1.3 | 2.9 |",
        "| 1,000 | 6.2 | 11.7 |",
    ]


def test_a_step_stands_beside_its_estimate_if_there_is_one():
    assert training_cost({"steps": [STEP, {**STEP, "training": "distill"}]}).splitlines()[2:] == [
        "| yolox-s, detector, 640 pixels | 2 | 8.4 | 160 | 1.2 | 0.9 |",
        "| yolox-s, distill, 640 pixels | 2 | 8.4 | - | 1.2 | - |",
    ]
