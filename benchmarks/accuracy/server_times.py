"""How long a server takes for a frame: its half behind a split, beside the whole detector behind an image.

One core, ONNX Runtime, one frame a batch, in turns frame by frame, so that whatever else the machine does touches both
alike. Entropy decoding and decoding an image are not part of it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from cloud_server.compute.bundle_model import BundleModel
from cloud_server.compute.decoded_frame import DecodedFrame
from cloud_server.compute.samples import samples
from cloud_server.compute.tuning import Tuning
from splitnet.bundle import load_server
from splitnet.operating_point import Mode

ROUNDS = 20  # over the sample frames


def server_times(bundle: Path, images: Path | None = None, most: int = 8) -> dict[str, float]:
    """Return `split_ms_p50`, and with an unsplit detector `unsplit_ms_p50` and `of_unsplit`, the median ratio.

    images: a folder to take sample frames from; None: synthetic ones. Raises BundleError, ConfigError.
    """
    model = BundleModel(load_server(bundle), torch.device("cpu"), Tuning(threads=1, onnxruntime=True), {})
    model.prepare()
    frames = samples(bundle, images, most)
    times = {mode: _times_ms(model, mode, frames[mode][:1]) for mode in model.modes}  # warm
    times = {mode: [] for mode in times}
    for _ in range(ROUNDS):
        for mode, found in times.items():
            found += _times_ms(model, mode, frames[mode])
    result = {"split_ms_p50": round(statistics.median(times[Mode.SPLIT]), 3)}
    if Mode.IMAGE in times:
        ratios = [split / whole for split, whole in zip(times[Mode.SPLIT], times[Mode.IMAGE], strict=True)]
        result["unsplit_ms_p50"] = round(statistics.median(times[Mode.IMAGE]), 3)
        result["of_unsplit"] = round(statistics.median(ratios), 3)
    return result


def _times_ms(model: BundleModel, mode: Mode, frames: Sequence[DecodedFrame]) -> list[float]:
    return [_milliseconds(model, mode, frame) for frame in frames]


def _milliseconds(model: BundleModel, mode: Mode, frame: DecodedFrame) -> float:
    start = time.perf_counter()
    model.infer(mode, [frame])
    return 1000 * (time.perf_counter() - start)
