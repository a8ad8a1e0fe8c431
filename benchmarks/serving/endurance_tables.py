"""Figures of fuzzing and of the soak, as tables for the docs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Result = Mapping[str, Any]


def fuzz(result: Result) -> str:
    """Return how often each target was executed, and what that found."""
    findings = result["findings"] or "none"
    rows = [
        f"| `{row['target']}` | {row['executions']:,} | {row['memory_mb_peak']} | {row['finding'] or 'none'} |\n"
        for row in result["targets"]
    ]
    rows.append(f"| **all** | **{result['executions']:,}** | | **{findings}** |\n")
    return "| target | executions | memory, MB at most | findings |\n|---|---|---|---|\n" + "".join(rows)


def soak(result: Result) -> str:
    """Return what became of the frames and of the server's memory."""
    lost = (
        f"{result['late']} late, {result['shed']} shed, {result['expired']} expired, {result['unanswered']} unanswered"
    )
    return (
        "| | |\n|---|---|\n"
        f"| load | {result['frames_per_s']:.1f} frames/s for {result['minutes']:g} minutes, "
        f"{result['devices']} sessions at any time |\n"
        f"| sessions | {result['sessions']:,}, of which {result['sessions_vanished']:,} vanished in mid-stream; "
        f"{result['errors']} errors |\n"
        f"| frames | {result['sent']:,} sent, {result['answered']:,} answered; {lost} |\n"
        f"| memory after the warm-up, at the end | {result['memory_mb_warm']:.0f} MB, "
        f"{result['memory_mb_end']:.0f} MB: {result['growth_percent']:+.2f} % |\n"
        f"| open files | {result['open_files_warm']:.0f}, {result['open_files_end']:.0f} |\n"
        f"| threads | {result['threads_warm']:.0f}, {result['threads_end']:.0f} |\n"
    )
