"""A clip, and what a system makes of it: bytes and what is found, and apart from that the device's time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.video.eyes import Eyes
from benchmarks.video.fidelity import fidelity, labelled_ap
from benchmarks.video.systems import Setting
from splitnet.detections import Detections
from training.data.clips import Image


@dataclass(frozen=True)
class Clip:
    """Frames to code, and what should be found in some of them."""

    name: str
    frames: Sequence[Image]
    looked: range  # the frames that are judged
    unsplit: Sequence[Detections]  # by the bundle's unsplit detector, on uncompressed canvases
    judged: Sequence[Detections] | None  # by a stronger detector
    eyes: Eyes
    labels: Mapping[int, Detections]  # of those frames that have some, in the clip's order


def figures(one: Setting, clip: Clip) -> dict[str, Any]:
    """Return bytes and fidelity of a system on a clip, and AP if it has labels."""
    system = one.make(clip.eyes)
    sizes: list[int] = []
    found: dict[int, Detections] = {}
    last = None
    for number, frame in enumerate(clip.frames):
        payload = system.encode(system.fit(frame))
        sizes.append(len(payload))
        received = system.receive(payload)
        if number in clip.looked:
            # A filter receives nothing anew, and so finds nothing anew.
            found[number] = found[max(found)] if found and received is last else system.look(received)
            last = received
    seen = list(found.values())
    judged = {} if clip.judged is None else {"fidelity_judge": round(fidelity(clip.judged, seen), 2)}
    labelled = [number for number in found if number in clip.labels]
    ap = labelled_ap([clip.labels[n] for n in labelled], [found[n] for n in labelled]) if labelled else None
    return {
        "system": one.system,
        "setting": one.setting,
        "bytes_first": sizes[0],
        "bytes_mean": round(float(np.mean(sizes[1:])), 1),
        "bytes_p95": round(float(np.percentile(sizes[1:], 95)), 1),
        "fidelity": round(fidelity(clip.unsplit, seen), 2),
        **judged,
        "ap": None if ap is None else round(ap, 2),
    }


def device_times(one: Setting, clip: Clip, frames: int) -> dict[str, float]:
    """Return the device's median time and mean processor time of a system, in ms, over a clip's first frames."""
    system = one.make(replace(clip.eyes, memo=None))
    times, processor = [], []
    for frame in clip.frames[: frames + 1]:
        canvas = system.fit(frame)
        begin, busy = time.perf_counter(), time.process_time()
        payload = system.encode(canvas)
        processor.append(time.process_time() - busy)
        times.append(time.perf_counter() - begin)
        system.receive(payload)
    return {
        "device_ms": round(1000 * float(np.median(times[1:])), 2),
        "device_cpu_ms": round(1000 * float(np.mean(processor[1:])), 2),
    }
