"""The tables of docs/own-detector.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Result = Mapping[str, Any]


def guide(result: Result) -> str:
    """Return how long each step of the guide took, and what came of it."""
    header = "| step | minutes by the clock | of processor time |\n|---|---|---|\n"
    rows = [_step_row(row["step"], row["seconds"], row["cpu_seconds"]) for row in result["steps"]]
    total = f"| **together** | {result['minutes']:.1f} | {result['cpu_minutes']:.1f} |\n"
    machine = f"{result['machine']['cores']} cores of an {result['machine']['processor']}"
    load = f"which had other work: load {result['load_before']:.1f} before and {result['load_after']:.1f} after"
    came = (
        f"The unsplit detector has AP {result['unsplit_ap']:.1f} on the {result['evaluated']} images that were held "
        f"out, the split one AP {result['best_ap']:.1f} at its best point, {result['best']}, with "
        f"{result['best_bytes'] / 1e3:.1f} KB a frame. Of the {result['pictures']} frames {result['answered']} were "
        "answered in time."
    )
    return f"{header}{''.join(rows)}{total}\n{result['pictures']} images, {machine}, {load}. {came}\n"


def _step_row(step: str, seconds: float, cpu_seconds: float) -> str:
    return f"| {step} | {seconds / 60:.1f} | {cpu_seconds / 60:.1f} |\n"


def learning_curve(result: Result) -> str:
    """Return what each evaluation of a detector's training gave."""
    rows = [f"| {row['step']:,} | {row['ap']:.1f} | {row['ap50']:.1f} |\n" for row in result["evaluations"]]
    return f"| steps | AP | AP50 |\n|---|---|---|\n{''.join(rows)}"


def training_cost(result: Result) -> str:
    """Return what training steps of larger detectors took, beside the estimates, which are those of the detector's."""
    header = "| | images a step | processor seconds | GFLOP, estimated | GB, measured | GB, estimated |\n"
    return f"{header}{'|---' * 6}|\n{''.join(map(_cost_row, result['steps']))}"


def _cost_row(row: Result) -> str:
    name = f"{row['model']}, {row['training']}, {row['square']} pixels"
    is_estimated = row["training"] == "detector"
    gflop, memory_gb = (f"{row['estimated_gflop']:.0f}", f"{row['estimated_gb']:.1f}") if is_estimated else ("-", "-")
    return (
        f"| {name} | {row['batch_size']} | {row['cpu_seconds']:.1f} | {gflop} | {row['memory_gb']:.1f} "
        f"| {memory_gb} |\n"
    )
