"""The back ends of the encoder, as tables for the docs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Result = Mapping[str, Any]


def backends(result: Result) -> str:
    """Return what each back end costs at each width, and what it gives at full width."""
    return f"{_times(result)}\n{_points(result)}\n{_footnote(result)}"


def _times(result: Result) -> str:
    widths = sorted({row["width"] for row in result["backends"]})
    found = {(row["backend"], row["width"]): row for row in result["backends"]}
    head = " | ".join(["processor time, ms (of PyTorch's)", *(f"w{width}" for width in widths)])
    lines = [f"| {head} |\n{'|---' * (len(widths) + 1)}|\n"]
    for name in dict.fromkeys(row["backend"] for row in result["backends"]):
        cells = [_time(found[name, width]) for width in widths]
        lines.append(f"| {' | '.join([name, *cells])} |\n")
    return "".join(lines)


def _time(row: Result) -> str:
    return f"{row['encode_cpu_ms_p50']:.1f} ({row['of_torch']:.2f})"


def _points(result: Result) -> str:
    head = "| full width | quality | symbols that differ from PyTorch's | KB a frame | AP | AP50 |\n"
    return head + "|---" * 6 + "|\n" + "".join(map(_point, result["points"]))


def _point(row: Result) -> str:
    return (
        f"| {row['backend']} | q{row['quality']} | {_differing(row)} | {row['bytes_mean'] / 1e3:.2f} "
        f"| {row['ap']:.1f} | {row['ap50']:.1f} |\n"
    )


def _differing(row: Result) -> str:
    if not row["differing"]:
        return f"none of {row['symbols']:,}"
    share = row["differing"] / row["symbols"]
    return (
        f"{share:.2%}, by {row['furthest']} at most" if share >= 1e-4 else f"{row['differing']} of {row['symbols']:,}"
    )


def _footnote(result: Result) -> str:
    machine = result["machine"]
    return (
        f"{result['images']} images, bundle {result['bundle']}, ONNX Runtime {result['onnxruntime']}, PyTorch "
        f"{machine['torch']}, one core of {machine['processor']}.\n"
    )
