"""Measure a bundle: accuracy, bytes and encode time of every operating point, through the real bitstream."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitnet.bundle import DeviceBundle, ServerBundle
from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.extras import progress
from splitnet.letterbox import Letterbox
from splitnet.manifest import Accuracy
from splitnet.measured_point import MeasuredPoint
from splitnet.nn.architectures import architecture_of
from splitnet.nn.detector import Detector, Size
from splitnet.nn.split_detector import image_input
from splitnet.operating_point import LOCAL, Codec, Mode, OperatingPoint
from training.data.images import read_image
from training.evaluation.average_precision import LabelledSet
from training.evaluation.detection_cache import DetectionCache
from training.evaluation.systems import Repeatable, System, UnsplitSystem, fills, local_system, system_of

# As COCO's average precision is usually taken: nearly every box counts, the score ranks them.
SCORE_THRESHOLD = 0.01
IMAGE_POINTS = tuple(
    OperatingPoint(codec, 0, quality)
    for codec, qualities in ((Codec.JPEG, (10, 20, 30, 50, 75, 90)), (Codec.WEBP, (5, 20, 40, 60, 80)))
    for quality in qualities
)


@dataclass(frozen=True)
class Evaluation:
    """What was measured."""

    unsplit: Accuracy | None
    points: tuple[MeasuredPoint, ...]
    local: Accuracy | None = None  # of what a device runs alone, as it runs it

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass
class Tally:
    """What one system has gathered so far, a value for each image."""

    sizes: list[int] = field(default_factory=list)  # bytes
    encode_ms: list[float] = field(default_factory=list)  # all that the device does
    found: list[Detections] = field(default_factory=list)  # in pixels of the frame


def operating_points(
    device: DeviceBundle, widths: Sequence[int] = (), qualities: Sequence[int] = (), with_images: bool = True
) -> list[OperatingPoint]:
    """Return every operating point of a bundle, or those of some widths and qualities; the image codecs' if asked."""
    manifest = device.manifest
    grid = product(widths or range(1, manifest.widths + 1), qualities or range(manifest.qualities))
    split = [OperatingPoint(Codec.RANS, width, quality) for width, quality in grid]
    return split + (list(IMAGE_POINTS) if with_images else [])


def evaluate(
    device: DeviceBundle,
    server: ServerBundle,
    labelled: LabelledSet,
    points: Sequence[OperatingPoint],
    cache: DetectionCache | None = None,
) -> Evaluation:
    """Run every image through every operating point, and the whole detectors. One thread, so that times compare."""
    device.codec.warm_up()
    points = served(server, points)
    whole = {"unsplit": _unsplit_system(server), "local": local_system(device)}
    there = {name: one for name, one in whole.items() if one is not None}
    tallies = measure([*(system_of(device, server, p) for p in points), *there.values()], labelled, cache=cache)
    figures = tuple(_point(device, labelled, p, t) for p, t in zip(points, tallies, strict=False))
    alone = {n: labelled.accuracy(t.found) for n, t in zip(there, tallies[len(points) :], strict=True)}
    return Evaluation(alone.get("unsplit"), figures, alone.get("local"))


def _unsplit_system(server: ServerBundle) -> UnsplitSystem | None:
    return None if server.detector is None else UnsplitSystem(server.detector, server.manifest.input_size)


def served(server: ServerBundle, points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """Return the points that a bundle's server can answer: images need the whole detector."""
    return [point for point in points if point.mode is Mode.SPLIT or server.detector is not None]


def with_local(device: DeviceBundle, server: ServerBundle, points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """Return the points that a bundle can serve, and LOCAL last if a device can detect alone."""
    manifest = device.manifest
    has_local = manifest.local_detector is not None and (device.folder / manifest.local_file).exists()
    return [*served(server, points), *([LOCAL] if has_local else [])]


def measure_points(
    device: DeviceBundle,
    server: ServerBundle,
    labelled: LabelledSet,
    points: Sequence[OperatingPoint],
    cache: DetectionCache | None = None,
) -> list[Tally]:
    """Run every image through operating points of a bundle; returns what each has gathered."""
    device.codec.warm_up()
    systems = [system_of(device, server, point) for point in points]
    return measure(systems, labelled, cache=cache)


@torch.inference_mode()
def measure(
    systems: Sequence[System],
    labelled: LabelledSet,
    server_threads: int | None = None,
    cache: DetectionCache | None = None,
) -> list[Tally]:
    """Run every image through every system; returns what each has gathered.

    server_threads: how many the servers' parts run with, if not with as many as the devices' parts. cache: of the
    bundle's server part, where they are to be looked up and kept. Raises ConfigError if an image cannot be read.
    """
    tallies = [Tally() for _ in systems]
    threads = torch.get_num_threads()
    for image in progress(labelled.images, unit="image"):
        frame = _read(image.path)
        boxes = [one.fit(frame.shape[1], frame.shape[0]) for one in systems]
        entries = list(zip(systems, boxes, tallies, strict=True))
        payloads = [_compress(one, frame, box, tally) for one, box, tally in entries]
        torch.set_num_threads(server_threads or threads)
        for (one, box, tally), payload in zip(entries, payloads, strict=True):
            tally.found.append(_answer(one, payload, box, cache))
        torch.set_num_threads(threads)
    return tallies


def _compress(one: System, frame: NDArray[np.uint8], box: Letterbox, tally: Tally) -> bytes:
    """Do all that the device does for a frame, and note its time and bytes."""
    start = time.perf_counter()
    payload = one.compress(frame, box)
    tally.encode_ms.append(1e3 * (time.perf_counter() - start))
    tally.sizes.append(len(payload))
    return payload


def _answer(one: System, payload: bytes, box: Letterbox, cache: DetectionCache | None) -> Detections:
    """Return what the server finds, known already or not."""

    def ask() -> Detections:
        return found_in_frame(one.detector_name, one.raw(payload, box), box, one.seen(box))

    if cache is None or not isinstance(one, Repeatable):
        return ask()
    return cache.get(f"{one.part} {box} ".encode() + payload, ask)


@torch.inference_mode()
def unsplit_detections(detector: Detector, path: Path, input_size: int) -> Detections:
    """Return what the whole detector finds in an uncompressed image, in its pixels."""
    frame = _read(path)
    box = Letterbox.fit(frame.shape[1], frame.shape[0], input_size)
    raw = detector(image_input(box.apply(frame), input_size, fills(detector))[None])
    return found_in_frame(detector.name, raw, box, input_size)


def _read(path: Path) -> NDArray[np.uint8]:
    frame = read_image(path)
    if frame is None:
        raise ConfigError(f"{path} is not a readable image")
    return frame


def found_in_frame(
    detector: str, raw: Tensor, box: Letterbox, seen: Size, score_threshold: float = SCORE_THRESHOLD
) -> Detections:
    """Return what a detector's raw predictions for one frame (1, A, K) say, in pixels of the frame.

    seen: sides of what the detector saw.
    """
    architecture = architecture_of(detector)
    (found,) = architecture.detections(raw, seen, score_threshold)
    filled = seen if architecture.fills and isinstance(seen, int) else None
    return Detections(box.boxes_to_frame(found.boxes, filled), found.scores, found.labels)


def _point(device: DeviceBundle, labelled: LabelledSet, point: OperatingPoint, tally: Tally) -> MeasuredPoint:
    accuracy = labelled.accuracy(tally.found)
    return MeasuredPoint(
        mode=point.mode,
        codec=point.codec,
        width=point.width,
        quality=point.quality,
        ap=accuracy.ap,
        ap50=accuracy.ap50,
        bytes_mean=round(float(np.mean(tally.sizes)), 1),
        bytes_p90=round(float(np.percentile(tally.sizes, 90)), 1),
        encode_ms_p50=round(float(np.median(tally.encode_ms)), 3),
        mmacs=round(mmacs(device, point), 2),
    )


def mmacs(device: DeviceBundle, point: OperatingPoint) -> float:
    """Return the millions of multiply-accumulates of an operating point on the device, for a 4:3 frame."""
    if point.mode is not Mode.SPLIT:
        return 0.0
    usual = device.manifest.fit(640, 480, point.width)
    return device.encoder.mmacs(point.width, usual.canvas_height, usual.canvas_width)
