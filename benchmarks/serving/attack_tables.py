"""Figures of the attacks and of TLS, as tables for the docs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]


def attack(result: Result) -> str:
    """Return what became of the honest device and of the server under each attack."""
    head = "| the other peer | in time | p50, p95 ms | memory grew by, kept, MB | ended after SIGTERM in |\n"
    return head + "|---|---|---|---|---|\n" + "".join(_row(row) for row in result["attacks"])


def _row(row: Mapping[str, Any]) -> str:
    times = "-" if row["p50_ms"] is None else f"{row['p50_ms']:.0f}, {row['p95_ms']:.0f}"
    name = "does nothing" if row["attack"] == "nothing" else row["attack"]
    stop = "not" if row["stop_s"] is None else f"{row['stop_s']:.1f} s"
    memory = f"{row['growth_mb']:.0f}, {max(0.0, row['left_mb']):.0f}"
    return f"| {name} | {row['in_time_share']:.0%} of {row['sent']} | {times} | {memory} | {stop} |\n"


def tls(result: Result) -> str:
    """Return what a message and its reply cost, each way."""
    rows = (f"| {row['way']} | {row['p50_ms']:.2f} | {row['cpu_ms']:.3f} |\n" for row in result["ways"])
    table = "| | p50, ms | processor time of both ends, ms |\n|---|---|---|\n" + "".join(rows)
    served = result.get("served", ())
    if not served:
        return table
    clear, secured = served
    limit = " and ".join(f"{one['frames_per_s']:.2f} ({one['way']})" for one in served)
    cpu = f"{clear['cpu_ms']:.1f} and {secured['cpu_ms']:.1f} ms"
    return (
        f"{table}\nA server at its limit answers {limit} frames a second: TLS takes {_share(secured['lost_share'])}.\n"
        f"A frame takes {cpu} of the server's processor time: {_share(secured['more_cpu_share'])} more.\n"
    )


def _share(shares: Sequence[float]) -> str:
    share, low, high = shares
    return f"{share:.1%} ({low:.1%} to {high:.1%})"
