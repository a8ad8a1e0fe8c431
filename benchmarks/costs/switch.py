"""The price of changing the operating point between two frames, against that of loading another model.

One measurement is four frames at points a a b b, and the next four follow at once: every point is encoded
once after itself and once after the other. What the two changes cost together, beyond the two frames that
stayed, is halved; slow drifts of the machine cancel out. Times cover network, quantiser and entropy coder.
The processor time of the encoding thread stands beside the clock's: on a busy machine it is the one to read.
"""

from __future__ import annotations

import statistics
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.harness.benchmark import Benchmark, milliseconds_p50
from benchmarks.harness.images import frames_from
from splitnet.bundle import DeviceBundle, load_device
from splitnet.errors import ConfigError
from splitnet.letterbox import LATENT_STRIDE, Letterbox
from splitnet.operating_point import Codec, OperatingPoint
from splitnet.settings import DEFAULT_BUNDLE

Canvas = NDArray[np.uint8]
Pair = tuple[OperatingPoint, OperatingPoint]
Times = tuple[float, float]  # milliseconds: by the clock, of the processor


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="frames to encode; scikit-image's if not given")
    parser.add_argument("--repeats", type=int, default=300, help="measurements of four frames a pair (%(default)s)")
    parser.add_argument("--reloads", type=int, default=7, help="how often the model is loaded (%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return the price for the most different points, its bare look-ups, and rows for each kind of change."""
    if options.repeats < 2 or options.reloads < 1:
        raise ConfigError("--repeats must be at least 2, --reloads at least 1")
    torch.set_num_threads(1)  # as on the device, and so that one thread's processor time is all of it
    bundle = load_device(options.bundle)
    manifest = bundle.manifest
    canvas = _canvas(frames_from(options.images, 1)[0], manifest.input_size)
    smallest = np.ascontiguousarray(canvas[:LATENT_STRIDE, :LATENT_STRIDE])  # nearly nothing to compute
    pairs = _pairs(manifest.widths, manifest.qualities)
    rows = [{"change": name, **_measure(bundle, canvas, pair, options.repeats)} for name, pair in pairs.items()]
    rows.append({"change": "look-up", **_measure(bundle, smallest, pairs["both"], 5 * options.repeats)})
    return {
        "bundle": f"{manifest.name} {manifest.digest[:12]}",
        "canvas": f"{canvas.shape[1]}x{canvas.shape[0]}",
        "switch_ms_p50": rows[0]["switch_ms_p50"],
        "lookup_ms_p50": rows[-1]["switch_ms_p50"],
        "reload_ms_p50": milliseconds_p50(lambda: _load(options.bundle, canvas), options.reloads),
        "changes": rows,
    }


BENCHMARK = Benchmark("switch", "changing the operating point against loading another model", _add_arguments, run)


def _pairs(widths: int, qualities: int) -> dict[str, Pair]:
    full = OperatingPoint(Codec.RANS, widths, qualities - 1)
    return {
        "both": (full, OperatingPoint(Codec.RANS, 1, 0)),
        "width": (full, OperatingPoint(Codec.RANS, 1, qualities - 1)),
        "quality": (full, OperatingPoint(Codec.RANS, widths, 0)),
    }


def _canvas(frame: Canvas, input_size: int) -> Canvas:
    height, width = frame.shape[:2]
    return Letterbox.fit(width, height, input_size).apply(frame)


def _load(folder: Path, canvas: Canvas) -> None:
    """Do what a device without a slimmable model does to change: load the other one and make it ready."""
    bundle = load_device(folder)
    bundle.codec.warm_up()
    for width in range(1, bundle.manifest.widths + 1):
        bundle.encoder.warm_up(width, *canvas.shape[:2])


def _measure(bundle: DeviceBundle, canvas: Canvas, pair: Pair, repeats: int) -> dict[str, object]:
    """Return what a change costs, with its quartiles, and the median frame around it."""
    first, second = pair
    order = (first, first, second, second)
    _encode_all(bundle, canvas, order)  # warm, and the first frame that counts follows `second`, too
    rounds = [_encode_all(bundle, canvas, order) for _ in range(repeats)]
    clock = [[clock_ms for clock_ms, _ in times] for times in rounds]
    processor = [[processor_ms for _, processor_ms in times] for times in rounds]
    p25, p50, p75 = statistics.quantiles([switch_price(times) for times in clock], n=4)
    return {
        "points": f"{first} / {second}",
        "switch_ms_p50": p50,
        "switch_ms_p25": p25,
        "switch_ms_p75": p75,
        "switch_cpu_ms_p50": statistics.median(switch_price(times) for times in processor),
        "frame_ms_p50": statistics.median(statistics.fmean(times) for times in clock),
    }


def switch_price(times: Sequence[float]) -> float:
    """Return what one change costs, from the times of four frames at points a a b b, the first after one at b."""
    a_after_b, a_after_a, b_after_a, b_after_b = times
    return ((a_after_b - a_after_a) + (b_after_a - b_after_b)) / 2


def _encode_all(bundle: DeviceBundle, canvas: Canvas, order: Sequence[OperatingPoint]) -> list[Times]:
    return [_encode(bundle, canvas, point) for point in order]


def _encode(bundle: DeviceBundle, canvas: Canvas, point: OperatingPoint) -> Times:
    clock, processor = time.perf_counter(), time.thread_time()
    symbols = bundle.encoder.encode(canvas, point.width, point.quality)
    bundle.codec.compress(symbols, point.width, point.quality)
    return (time.perf_counter() - clock) * 1000, (time.thread_time() - processor) * 1000
