"""A detector shared out by place: each of four devices computes a quarter of the picture, beside one with all of it.

Every quarter is a bitstream of its own, made from the quarter's pixels and a margin around it. The server puts the
quarters side by side and goes on as with the whole latent.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.labelled_options import add_labelled
from splitnet.bundle import DeviceBundle, ServerBundle, load_device, load_server
from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.extras import progress
from splitnet.letterbox import LATENT_STRIDE, Letterbox
from splitnet.settings import DEFAULT_BUNDLE
from training.data.images import read_image
from training.evaluation.average_precision import LabelledSet
from training.evaluation.measure import found_in_frame

QUARTERS = 4


class Span(NamedTuple):
    """Positions along one side of the latent: what a device computes, and what of it is its own."""

    begin: int
    end: int
    own_begin: int
    own_end: int


class Region(NamedTuple):
    """What one device computes of the latent."""

    rows: Span
    columns: Span


@dataclass
class Way:
    """The regions that pictures of one side are computed in, and what came of it."""

    side: int  # of the picture, in pixels
    margin: int  # positions around a quarter
    regions: Sequence[Region]
    lost: bool = False  # whether a quarter is lost: another one of each image in turn
    found: list[Detections] = field(default_factory=list)
    sent: int = 0  # bytes

    @property
    def name(self) -> str:
        """What it is called in tables."""
        if len(self.regions) == 1:
            return f"front on one device, {self.side} pixels"
        return f"quarters of {self.side} pixels, {self.margin * LATENT_STRIDE} pixels of margin"


def spans(cells: int, pieces: int, margin: int) -> list[Span]:
    """Return how positions of one side are shared out: evenly, each piece with a margin where there is more."""
    ends = [-(-cells * piece // pieces) for piece in range(pieces + 1)]
    return [Span(max(0, a - margin), min(cells, b + margin), a, b) for a, b in pairwise(ends)]


def regions(cells: int, pieces: int, margin: int) -> list[Region]:
    """Return the regions of a square latent: pieces x pieces of them."""
    along = spans(cells, pieces, margin)
    return [Region(rows, columns) for rows in along for columns in along]


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="whose front is shared out (%(default)s)"
    )
    add_labelled(parser)
    add = parser.add_argument
    add("--whole", type=int, nargs="+", default=[112, 208, 224, 256], help="pixels, on one device (%(default)s)")
    add("--sides", type=int, nargs="+", default=[192, 208, 256, 416], help="pixels, in quarters (%(default)s)")
    add("--margins", type=int, nargs="+", default=[0, 1], help="positions around a quarter, of 16 pixels (%(default)s)")
    add("--lost", type=int, nargs="*", default=[208, 416], help="sides to measure without a quarter too (%(default)s)")
    add("--quality", type=int, default=3, help="of all bitstreams (%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return a row for each way of sharing a picture out."""
    device, server = load_device(options.bundle), load_server(options.bundle)
    manifest = device.manifest
    if not all(0 < side <= manifest.input_size and side % LATENT_STRIDE == 0 for side in options.whole + options.sides):
        raise ConfigError(f"sides are multiples of {LATENT_STRIDE} up to {manifest.input_size}")
    if not manifest.encoder.stretches:
        raise ConfigError(f"{manifest.name} does not stretch pictures to a square: give another --bundle")
    if not 0 <= options.quality < manifest.qualities or min(options.margins) < 0:
        raise ConfigError(f"--quality is 0 to {manifest.qualities - 1}, and --margins are not negative")
    ways = [Way(side, 0, regions(side // LATENT_STRIDE, 1, 0)) for side in options.whole]
    for side in options.sides:
        ways += [Way(side, margin, regions(side // LATENT_STRIDE, 2, margin)) for margin in options.margins]
    last = max(options.margins)
    ways += [Way(side, last, regions(side // LATENT_STRIDE, 2, last), lost=True) for side in options.lost]
    labelled = LabelledSet(options.images, options.annotations, manifest.class_names, options.limit)
    torch.set_num_threads(1)
    for number, one in enumerate(progress(labelled.images, unit="image")):
        frame = read_image(one.path)
        if frame is None:
            raise ConfigError(f"{one.path} cannot be read")
        for way in ways:
            _add(way, number, frame, device, server, options.quality)
    rows = [_row(way, device, labelled, options.quality) for way in ways]
    return {"bundle": f"{manifest.name} {manifest.digest[:12]}", "images": len(labelled.images), "rows": rows}


BENCHMARK = Benchmark("group-regions", "a detector shared out by place: quarters of the picture", _add_arguments, run)


@torch.inference_mode()
def _add(
    way: Way, number: int, frame: NDArray[np.uint8], device: DeviceBundle, server: ServerBundle, quality: int
) -> None:
    """Send one frame by a way, and keep what is found and sent."""
    width = _width(device, way.side)
    box = Letterbox.fit(frame.shape[1], frame.shape[0], way.side, stretches=True)
    canvas = box.apply(frame)
    cells = way.side // LATENT_STRIDE
    joined = np.zeros((device.manifest.latent_channels, cells, cells), np.int16)
    for index, region in enumerate(way.regions):
        if way.lost and index == number % QUARTERS:
            continue
        payload = device.codec.compress(region_symbols(device, canvas, region, width, quality), width, quality)
        way.sent += len(payload)
        _, symbols = server.codec.decompress(payload)
        joined[:, region.rows.own_begin : region.rows.own_end, region.columns.own_begin : region.columns.own_end] = (
            symbols
        )
    raw = server.half(server.half.dequantise(joined, width, quality)[None])
    size = server.manifest.input_size
    way.found.append(found_in_frame(server.manifest.detector, raw, box, (size, size)))


def region_symbols(
    device: DeviceBundle, canvas: NDArray[np.uint8], region: Region, width: int, quality: int
) -> NDArray[np.int16]:
    """Return a region's own symbols (C, h, w), computed from its pixels and those of its margin alone."""
    rows, columns = region
    tile = canvas[
        rows.begin * LATENT_STRIDE : rows.end * LATENT_STRIDE,
        columns.begin * LATENT_STRIDE : columns.end * LATENT_STRIDE,
    ]
    symbols = device.encoder.encode(np.ascontiguousarray(tile), width, quality)
    down, right = rows.own_begin - rows.begin, columns.own_begin - columns.begin
    own = symbols[:, down : down + rows.own_end - rows.own_begin, right : right + columns.own_end - columns.own_begin]
    return np.ascontiguousarray(own)


def _width(device: DeviceBundle, side: int) -> int:
    """Return the width whose own side is nearest: it gives the gains and the tables."""
    manifest = device.manifest
    return min(range(1, manifest.widths + 1), key=lambda width: abs(manifest.side(width) - side))


def _row(way: Way, device: DeviceBundle, labelled: LabelledSet, quality: int) -> dict[str, object]:
    accuracy = labelled.accuracy(way.found)
    sizes = {(r.rows.end - r.rows.begin, r.columns.end - r.columns.begin) for r in way.regions}
    width = _width(device, way.side)
    mmacs = [device.encoder.mmacs(width, *(side * LATENT_STRIDE for side in size)) for size in sizes]
    return {
        "task": "detection",
        "method": way.name,
        "devices": len(way.regions),
        "lost": int(way.lost),
        "lost_parts": "each in turn" if way.lost else "",
        "quality": quality,
        "accuracy": accuracy.ap,
        "ap50": accuracy.ap50,
        "parameters_per_device": None,
        "mmacs_per_device": round(max(mmacs), 2),
        "bytes_sent": round(way.sent / len(way.found), 1),
        "latency_ms": None,
    }
