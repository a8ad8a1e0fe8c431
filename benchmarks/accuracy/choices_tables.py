"""The figures of the benchmark `choices`, as a table for README and docs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KINDS = {"local": "on the device alone", "image": "an image to the server", "split": "split"}
HEADER = ("", "", "AP", "KB a frame", "device MMACs", "ms on one core")


def choices(result: Mapping[str, Any]) -> str:
    """Return a row for each choice, and on what it was measured."""
    rows = [HEADER, ("---",) * len(HEADER), *(_cells(row) for row in result["choices"])]
    lines = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    terms = f"{result['images']} images, bundle {result['bundle']}; all in one run, by {_backend(result['backend'])}."
    return f"{lines}\n{terms}{_server(result['server'])}\n" if "server" in result else f"{lines}\n{terms}\n"


def _server(times: Mapping[str, float]) -> str:
    split = f" The server's part of a frame, on one core: {times['split_ms_p50']:.1f} ms behind a split"
    if "unsplit_ms_p50" not in times:
        return f"{split}."
    return f"{split}, {times['unsplit_ms_p50']:.1f} ms behind an image ({times['of_unsplit']:.2f} times)."


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    kilobytes = f"{row['bytes_mean'] / 1e3:.1f}" if row["bytes_mean"] else "0"
    return (
        KINDS[row["kind"]],
        f"`{row['name']}`",
        f"{row['ap']:.1f}",
        kilobytes,
        f"{row['device_mmacs']:.0f}",
        f"{row['device_ms_p50']:.1f}",
    )


def _backend(name: str) -> str:
    return {"onnxruntime": "ONNX Runtime", "torch": "PyTorch"}.get(name, name)
