"""Milliseconds a frame when two tasks watch one stream: each detector for itself, or behind a shared front."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import nn

from benchmarks.sharing.distilled import spec_of
from benchmarks.sharing.merges import Row
from splitnet.nn.blocks import place
from splitnet.nn.joint import Joint
from splitnet.nn.merged import Merged, SharedFront
from training.sharing.members import Member

CPU = torch.device("cpu")


def time_rows(members: Sequence[Member], merges: Sequence[Row], frames: int) -> list[dict[str, Any]]:
    """Return the times of every merge on some pair's frontier of computation, on one thread, by turns."""
    by_name = {member.name: member for member in members}
    return [_row(by_name[row["a"]], by_name[row["b"]], row, frames) for row in _worth_timing(merges)]


def _worth_timing(merges: Sequence[Row]) -> list[Row]:
    """Return, of each kind of pair, the merges that save the most computation for what they lose."""
    chosen: list[Row] = []
    for group in ("common ancestor", "across families"):
        own = [row for row in merges if row["group"] == group and row["kind"] != "segment" and row["mmacs_saved"] > 0]
        own.sort(key=lambda row: float(row["ap_loss"]))
        best = -1.0
        for row in own:
            if row["mmacs_saved"] > best:
                best = float(row["mmacs_saved"])
                chosen.append(row)
    return [row for row in chosen if row["ap_kept"] > 50]


@torch.inference_mode()
def _row(donor: Member, recipient: Member, row: Row, frames: int) -> dict[str, Any]:
    spec = spec_of(donor, recipient, row["label"])
    front = donor.fresh()
    merged = Merged(spec, front, recipient.fresh(), [Joint(joint) for joint in spec.every_joint])
    shared = place(SharedFront(front, [merged]).eval(), CPU)
    apart = place(nn.ModuleList([donor.fresh(), recipient.fresh()]).eval(), CPU)
    side = recipient.manifest.input_size
    image = torch.rand(1, 3, side, side).mul(255).contiguous(memory_format=torch.channels_last)
    together_ms, apart_ms = [], []
    for number in range(frames + 2):
        begin = perf_counter()
        shared(image)
        middle = perf_counter()
        for detector in apart:
            detector(image)
        if number >= 2:
            together_ms.append(1000 * (middle - begin))
            apart_ms.append(1000 * (perf_counter() - middle))
    both, alone = median(together_ms), median(apart_ms)
    saved = median(1 - x / y for x, y in zip(together_ms, apart_ms, strict=True))
    return {
        "a": row["a"],
        "b": row["b"],
        "label": row["label"],
        "ap_loss": row["ap_loss"],
        "apart_ms": round(alone, 2),
        "shared_ms": round(both, 2),
        "share_saved": round(saved, 4),
    }
