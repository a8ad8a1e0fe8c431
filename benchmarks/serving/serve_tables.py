"""A server under load, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Result = Mapping[str, Any]

SERVE_FIGURE = (
    '<picture><source media="(prefers-color-scheme: dark)" srcset="serve-dark.png">'
    '<img src="serve-light.png" alt="Goodput and latency over the load, with batching and without"></picture>'
)


def serve(result: Result) -> str:
    """Return what a server under load gives, as a share of the bare model, and how it bears the rest."""
    header = (
        "| server | load | goodput | of the bare model's | Jain's index | p50 / p99 ms | refused | late | batch |\n"
    )
    rows = "".join(map(_serve_row, result["loads"]))
    found = result["sessions"][-1]
    others, flooder = result["flooding"]
    halting, awake = result["overhead"]
    lost = sum(row["not_in_time"] for row in result["switch"])
    sent = sum(row["sent"] for row in result["switch"])
    return (
        f"{header}{'|---' * 9}|\n{rows}\n"
        "| | |\n|---|---|\n"
        f"| the bare batched model, on as many cores ({result['server_cores']}) | "
        f"{result['bare_frames_per_s']:.1f} frames/s |\n"
        f"| one call at a time | {result['one_call_at_a_time_frames_per_s']:.1f} frames/s |\n"
        f"| best goodput, as a share of the bare model's | {result['peak_share_of_bare']:.0%} |\n"
        f"| goodput at the highest load, as a share of the best | {result['share_of_peak_at_highest_load']:.0%} |\n"
        f"| a frame's time beside waiting, decoding and computing, at load {halting['load']:g}, median "
        f"| {_beside(halting)}; on cores that never halt {_beside(awake)} |\n"
        f"| {found['sessions']} sessions on {result['sessions_cores']} cores shared with the devices | "
        f"{found['sent_per_s'] / found['sessions']:.2f} frames/s each, {found['in_time']:.1%} in time, "
        f"Jain's index {found['jain']:.3f} |\n"
        f"| one device sends ten times as much as each of {others['devices']} others | the others: "
        f"{others['in_time']:.1%} in time; the one: {flooder['in_time']:.1%} |\n"
        f"| a bundle replaced under load | {result['switch_errors']} errors, {lost} of {sent} frames not in time, "
        f"new one ready after {result['switch_s']:.1f} s |\n"
        f"\n{SERVE_FIGURE}\n"
    )


def _beside(row: Result) -> str:
    return f"{row['overhead_ms_p50']:.1f} ms, {row['ack_ms_p50']:.1f} of them the stream's own round trip"


def _serve_row(row: Result) -> str:
    latency = " / ".join("-" if row[key] is None else f"{row[key]:.0f}" for key in ("latency_ms_p50", "latency_ms_p99"))
    size = "-" if row["batch_size_mean"] is None else f"{row['batch_size_mean']:.1f}"
    return (
        f"| {row['server']} | {row['load']:g} | {row['goodput_per_s']:.1f} | {row['share_of_bare']:.0%} "
        f"({row['share_of_bare_min']:.0%}-{row['share_of_bare_max']:.0%}) | {row['jain']:.3f} | {latency} "
        f"| {row['shed'] + row['expired']} | {row['late']} | {size} |\n"
    )
