"""A group that detects: its accuracy and bytes with all devices and without some, beside the front on one device.

Every image goes through the real bitstreams. The rivals are operating points of the bundle that the group was made
from, as its manifest has them: the same front on one device, on smaller images.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.labelled_options import add_labelled
from splitnet.bundle import DeviceBundle
from splitnet.codec.change_codec import DecodedLatent
from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.extras import progress
from splitnet.groups.group_bundle import GroupServer, load_group_server, load_part
from splitnet.letterbox import Letterbox
from splitnet.manifest import load_manifest
from splitnet.operating_point import Mode
from splitnet.settings import DEFAULT_BUNDLE
from training.data.images import read_image
from training.evaluation.average_precision import LabelledSet
from training.evaluation.measure import SCORE_THRESHOLD

MOST_SETS = {1: 8}  # of single lost parts; of more at once, two sets each

Rows = list[dict[str, object]]


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--group", type=Path, required=True, metavar="DIR", help="bundle of the group")
    parser.add_argument(
        "--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="the one it was made from (%(default)s)"
    )
    add_labelled(parser)
    parser.add_argument("--qualities", type=int, nargs="+", default=[0, 5, 10], help="of the parts (%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return a row for each quality, for each number of lost devices, and for each rival."""
    server = load_group_server(options.group)
    group = server.manifest
    if not all(0 <= quality < group.qualities for quality in options.qualities):
        raise ConfigError(f"{group.name} has qualities 0 to {group.qualities - 1}")
    parts = [load_part(options.group, number, group.parts) for number in range(1, group.parts + 1)]
    labelled = LabelledSet(options.images, options.annotations, group.class_names, options.limit)
    torch.set_num_threads(1)
    middle = options.qualities[len(options.qualities) // 2]
    rows: Rows = []
    for quality in options.qualities:
        sets = _sets(group.parts) if quality == middle else [frozenset[int]()]
        rows += _measured(server, parts, labelled, quality, sets)
    return {"group": f"{group.name} {group.digest[:12]}", "rows": rows + _rivals(options.bundle)}


BENCHMARK = Benchmark(
    "group-detection", "a group that detects, with all its devices and without some", _add_arguments, run
)


def _sets(parts: int) -> list[frozenset[int]]:
    """Return the sets of lost parts that are measured: some of each size, evenly."""
    found = [frozenset[int]()]
    for size in range(1, parts):
        every = [frozenset(one) for one in combinations(range(1, parts + 1), size)]
        found += every[:: -(-len(every) // MOST_SETS.get(size, 2))]
    return found


@torch.inference_mode()
def _measured(
    server: GroupServer,
    parts: Sequence[DeviceBundle],
    labelled: LabelledSet,
    quality: int,
    sets: Sequence[frozenset[int]],
) -> Rows:
    found: dict[frozenset[int], list[Detections]] = {lost: [] for lost in sets}
    sizes = dict.fromkeys(range(1, len(parts) + 1), 0)
    for one in progress(labelled.images, unit="image"):
        frame = read_image(one.path)
        if frame is None:
            raise ConfigError(f"{one.path} cannot be read")
        box = server.manifest.fit(frame.shape[1], frame.shape[0])
        coded = _coded(parts, frame, box, quality)
        for number, payload in coded.items():
            sizes[number] += len(payload)
        latents = {number: server.codecs[number - 1].decode(payload) for number, payload in coded.items()}
        for lost, answer in zip(sets, _answers(server, latents, sets, box), strict=True):
            found[lost].append(answer)
    side, count = server.manifest.input_size, len(labelled.images)
    mmacs = max(part.encoder.mmacs(1, side, side) for part in parts)
    weights = max(sum(v.numel() for v in spec.make().state_dict().values()) for spec in server.manifest.networks)
    rows: Rows = []
    for lost in sets:
        accuracy = labelled.accuracy(found[lost])
        rows.append(
            {
                "task": "detection",
                "method": "parts of the latent",
                "devices": len(parts),
                "lost": len(lost),
                "lost_parts": "+".join(map(str, sorted(lost))),
                "quality": quality,
                "accuracy": accuracy.ap,
                "ap50": accuracy.ap50,
                "parameters_per_device": weights,
                "mmacs_per_device": round(mmacs, 2),
                "bytes_sent": round(sum(size for n, size in sizes.items() if n not in lost) / count, 1),
                "latency_ms": None,
            }
        )
    return rows


def _coded(parts: Sequence[DeviceBundle], frame: NDArray[np.uint8], box: Letterbox, quality: int) -> dict[int, bytes]:
    canvas, coded = box.apply(frame), {}
    for number, part in enumerate(parts, start=1):
        coded[number] = part.codec.compress(part.encoder.encode(canvas, 1, quality), 1, quality)
    return coded


def _answers(
    server: GroupServer, latents: Mapping[int, DecodedLatent], sets: Sequence[frozenset[int]], box: Letterbox
) -> list[Detections]:
    """Return what is found without each set of parts, in pixels of the frame."""
    came = [{number: latent for number, latent in latents.items() if number not in lost} for lost in sets]
    found = server.half.answers(came, SCORE_THRESHOLD)
    return [Detections(box.boxes_to_frame(one.boxes), one.scores, one.labels) for one in found]


def _rivals(bundle: Path) -> Rows:
    """Return the rows of the front on one device: the points of the two narrowest widths."""
    manifest = load_manifest(bundle)
    return [
        {
            "task": "detection",
            "method": f"front of {manifest.name} on one device, {manifest.side(point.width)} pixels",
            "devices": 1,
            "lost": 0,
            "lost_parts": "",
            "quality": point.quality,
            "accuracy": point.ap,
            "ap50": point.ap50,
            "parameters_per_device": None,
            "mmacs_per_device": point.mmacs,
            "bytes_sent": point.bytes_mean,
            "latency_ms": None,
        }
        for point in manifest.points
        if point.point.mode is Mode.SPLIT and point.width <= 2
    ]
