"""The tables of docs/sharing.md, from sharing.json. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]

NAMES = {
    "r2": "R2 of the map",
    "cka": "CKA, debiased",
    "procrustes": "Procrustes",
    "gram_cosine": "cosine of Gram matrices",
    "r2_neck": "R2 of what the head reads",
    "scores_explained": "score maps explained (KL)",
    "divergence": "divergence of predictions",
    "fidelity_unlabelled": "boxes in common, without labels",
    "own_ap": "AP if its own boxes were the truth",
    "tail_agreement": "agreement of tails",
    "depth_difference": "difference in depth",
    "parameters_replaced": "parameters replaced",
    "output_size": "size of what is replaced",
    "weight_distance": "distance of weights",
}


def sharing_correlations(result: Result) -> str:
    """Return Pearson with its interval and Spearman of every measure, of all merges and within each group."""
    rows = [row for row in result["correlations"] if row["target"] == "ap_kept"]
    groups = list(dict.fromkeys(row["group"] for row in rows))
    header = f"| measure | {' | '.join(groups)} |\n|---{'|---' * len(groups)}|\n"
    metrics = dict.fromkeys(row["metric"] for row in rows)
    return header + "".join(_metric(metric, groups, rows) for metric in metrics)


def _metric(metric: str, groups: Sequence[str], rows: Sequence[Result]) -> str:
    cells = []
    for group in groups:
        found = next((row for row in rows if (row["metric"], row["group"]) == (metric, group)), None)
        cells.append("-" if found is None else _correlation(found))
    return f"| {NAMES.get(metric, metric)} | {' | '.join(cells)} |\n"


def _correlation(row: Result) -> str:
    return f"{row['pearson']:.2f} ({row['low']:.2f} to {row['high']:.2f}), {row['spearman']:.2f}"


def sharing_frontier(result: Result) -> str:
    """Return the merges of each pair that none beats in accuracy, memory and computation."""
    header = (
        "| donor | recipient | up to | AP alone | AP merged | AP lost | weights saved, of the recipient's "
        "| MMACs saved |\n|---|---|---|---|---|---|---|---|\n"
    )
    return header + "".join(_frontier_row(row) for row in result["frontier"] if row["ap_loss"] < row["ap_alone"] / 3)


def _frontier_row(row: Result) -> str:
    cut = f"{row['cut']} ({row['kind']})"
    share = row["bytes_saved"] / row["bytes_alone"]
    figures = f"{row['ap_alone']:.1f} | {row['ap']:.1f} | {row['ap_loss']:.1f} | {share:.0%} | {row['mmacs_saved']:.0f}"
    return f"| {row['a']} | {row['b']} | {cut} | {figures} |\n"


def sharing_distilled(result: Result) -> str:
    """Return what some steps on the joints alone add to the closed form."""
    header = (
        "| donor and recipient | merge | AP alone | closed form | after the steps | weights of both saved "
        "| MMACs saved |\n|---|---|---|---|---|---|---|\n"
    )
    return header + "".join(_distilled_row(row) for row in result.get("distilled", []))


def _distilled_row(row: Result) -> str:
    what = row["label"].partition(" up to ")[2]
    share = row["bytes_saved"] / row["bytes_of_both"]
    closed, after = (
        f"{row[key]:.1f} ({row[key] - row['ap_alone']:+.1f})" for key in ("ap_closed_form", "ap_after_steps")
    )
    pair = f"{row['a']} for {row['b']}"
    return (
        f"| {pair} | {what} | {row['ap_alone']:.1f} | {closed} | {after} | {share:.0%} | {row['mmacs_saved']:.0f} |\n"
    )


def sharing_memory(result: Result) -> str:
    """Return what bundles take, each for itself and sharing."""
    columns = ("bundles", "weights, MB", "equal ones held once", "share", "process, MB more", "sharing")
    header = f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|\n"
    return header + "".join(_memory_row(row) for row in result.get("memory", []))


def _memory_row(row: Result) -> str:
    alone, shared = row["held_bytes_alone"] / 1e6, row["held_bytes_shared"] / 1e6
    grown = (row[f"resident_growth_bytes_{way}"] / 1e6 for way in ("alone", "shared"))
    first, second = (f"{value:.0f}" for value in grown)
    return f"| {row['bundles']} | {alone:.1f} | {shared:.1f} | {row['share_held']:.1%} | {first} | {second} |\n"


def sharing_time(result: Result) -> str:
    """Return the milliseconds of a frame that two tasks look at."""
    header = "| merge | AP lost by the recipient | apart, ms | shared, ms | saved |\n|---|---|---|---|---|\n"
    return header + "".join(_time_row(row) for row in result.get("time", []))


def _time_row(row: Result) -> str:
    times = f"{row['apart_ms']:.1f} | {row['shared_ms']:.1f} | {row['share_saved']:.0%}"
    return f"| {row['label']} | {row['ap_loss']:.1f} | {times} |\n"


def sharing_baselines(result: Result) -> str:
    """Return the share of both detectors' weights that each way of choosing saves."""
    ways = list(result["baselines"][0]["share_saved"])
    header = f"| donor and recipient | AP lost at most | {' | '.join(NAMES.get(way, way) for way in ways)} |\n"
    return header + f"|---{'|---' * (len(ways) + 1)}|\n" + "".join(_baseline(row, ways) for row in result["baselines"])


def _baseline(row: Result, ways: Sequence[str]) -> str:
    shares = " | ".join(f"{row['share_saved'][way]:.0%}" for way in ways)
    return f"| {row['a']} for {row['b']} | {row['ap_lost_at_most']:g} | {shares} |\n"
