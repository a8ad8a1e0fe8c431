"""The tables of docs/split-points.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.accuracy.split_points_verify import order
from training.cuts.figures import CutStudy, cut_from_json, recommend

BUDGETS_KB = (2, 4, 8, 16, 32)

Result = Mapping[str, Any]


def cuts(result: Result) -> str:
    """Return what each cut sends and costs, and how compressible it is."""
    header = "| cut behind | sent: shape | components for 90 / 95 / 99 % of the energy | MMACs before | after |\n"
    rows = [_cut_row(cut_from_json(cut)) for cut in result["cuts"]]
    return f"{header}|---|---|---|---|---|\n{''.join(rows)}"


def _cut_row(cut: CutStudy) -> str:
    sent = "<br>".join(f"{tensor.name}: {'x'.join(map(str, tensor.shape))}" for tensor in cut.tensors)
    kept = "<br>".join(" / ".join(map(str, tensor.components.values())) for tensor in cut.tensors)
    return f"| {cut.cut} | {sent} | {kept} | {cut.mmacs_before:.0f} | {cut.mmacs_after:.0f} |\n"


def budgets(result: Result) -> str:
    """Return the best AP of each cut at some sizes of a frame, without any training."""
    header = "| cut behind | MMACs before | " + " | ".join(f"AP at {size} KB" for size in BUDGETS_KB) + " |\n"
    rows = [_budget_row(cut_from_json(cut)) for cut in result["cuts"]]
    unsplit = f"\n{result['images']} images; unsplit and uncompressed, AP {result['unsplit']['ap']:.1f} on them.\n"
    return f"{header}{'|---' * (2 + len(BUDGETS_KB))}|\n{''.join(rows)}{unsplit}"


def _budget_row(cut: CutStudy) -> str:
    cells = [_best(cut, 1000 * size) for size in BUDGETS_KB]
    return f"| {cut.cut} | {cut.mmacs_before:.0f} | {' | '.join(cells)} |\n"


def choices(result: Result) -> str:
    """Return which cut is best for what a device can compute and a link carry; a row for each that changes anything."""
    studies = sorted((cut_from_json(cut) for cut in result["cuts"]), key=lambda cut: cut.mmacs_before)
    header = "| MMACs of the device | " + " | ".join(f"{size} KB" for size in BUDGETS_KB) + " |\n"
    rows = {tuple(_choice(studies, cut.mmacs_before, 1000 * size) for size in BUDGETS_KB): cut for cut in studies[::-1]}
    body = [f"| from {cut.mmacs_before:.0f} on | {' | '.join(cells)} |\n" for cells, cut in rows.items()]
    return f"{header}{'|---' * (1 + len(BUDGETS_KB))}|\n{''.join(body[::-1])}"


def _choice(studies: Sequence[CutStudy], device_mmacs: float, size_bytes: float) -> str:
    choice = recommend(studies, device_mmacs, size_bytes)
    return "-" if choice is None else f"{choice.cut.cut} {choice.point.ap:.1f}"


def bundle(result: Result) -> str:
    """Return the split points of a bundle without their times, which mean nothing for a machine that has other work."""
    header = "| operating point | KB a frame (p90) | AP | AP50 | device MMACs |\n|---|---|---|---|---|\n"
    points = [point for point in result["points"] if point["mode"] == "split"]
    unsplit = f"\n{result['images']} images.\n"
    if result["unsplit"] is not None:
        unsplit = f"\n{result['images']} images; its unsplit detector, AP {result['unsplit']['ap']:.1f} on them.\n"
    return header + "".join(map(_bundle_row, points)) + unsplit


def _bundle_row(point: Result) -> str:
    size = f"{point['bytes_mean'] / 1e3:.2f} ({point['bytes_p90'] / 1e3:.2f})"
    name = f"w{point['width']} q{point['quality']}"
    return f"| {name} | {size} | {point['ap']:.1f} | {point['ap50']:.1f} | {point['mmacs']:.0f} |\n"


def verified(result: Result) -> str:
    """Return what short trainings give at each cut, beside what there was without, and both orders."""
    cuts = list(dict.fromkeys(point["cut"] for point in result["points"]))
    header = f"| KB a frame | {' | '.join(cuts)} | trained, best first | without training |\n"
    rows = [_verified_row(row, cuts) for row in result["ranks"]]
    batch = f"{result['steps']} steps of {result['batch_size']} crops of {result['square']} pixels"
    below = f"\nAP after {batch} at each cut (in brackets: without training), on {result['images']} images.\n"
    return f"{header}{'|---' * (3 + len(cuts))}|\n{''.join(rows)}{below}"


def _verified_row(row: Result, cuts: Sequence[str]) -> str:
    cells = [f"{_cell(row[f'trained {cut}'])} ({_cell(row[f'free {cut}'])})" for cut in cuts]
    orders = [", ".join(order(row, how)) for how in ("trained", "free")]
    return f"| {row['bytes'] / 1e3:g} | {' | '.join([*cells, *orders])} |\n"


def _cell(ap: float | None) -> str:
    return "-" if ap is None else f"{ap:.1f}"


def _best(cut: CutStudy, size_bytes: float) -> str:
    """Return the best AP of the points up to a size and its bytes, or a dash if there is none."""
    fitting = [point for point in cut.points if point.bytes_mean <= size_bytes]
    if not fitting:
        return "-"
    best = max(fitting, key=lambda point: (point.ap, -point.bytes_mean))
    return f"{best.ap:.1f} ({best.bytes_mean / 1e3:.1f} KB)"
