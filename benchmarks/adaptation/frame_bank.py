"""Make the frame bank of a bundle: every labelled image through every operating point, once, and keep it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.adaptation.effective_accuracy import FrameBank, InPart, assemble, load_bank
from benchmarks.adaptation.layered_system import LayeredSystem
from edge_client.adaptation.layered_rows import LAYERS
from splitnet.bundle import DeviceBundle, ServerBundle, load_device, load_server
from splitnet.errors import ConfigError
from splitnet.home import cache_folder
from splitnet.operating_point import Codec, OperatingPoint
from training.evaluation.average_precision import LabelledSet
from training.evaluation.detection_cache import DetectionCache, code_digest, detection_cache_of
from training.evaluation.measure import Tally, measure, measure_points, with_local

logger = logging.getLogger(__name__)


def frame_bank(
    bundle: Path,
    images: Path,
    annotations: Path,
    limit: int | None = None,
    named: Sequence[OperatingPoint] = (),
    in_layers: bool = False,
) -> FrameBank:
    """Return the bank of a bundle and labelled images; made on the first call, read from the user's cache afterwards.

    named: points beside those of the manifest, which leaves out the ones that others dominate. in_layers: with frames
    of which only some layers have come, at the points of the full width that are worth it. An interrupted call is
    no loss: the next one goes on, by what it knows the server's part to answer. Raises ConfigError if images and
    annotations do not fit together, BundleError if the bundle is damaged.
    """
    device = load_device(bundle)
    manifest = device.manifest
    measured = [p.point for p in manifest.points]
    points = list(dict.fromkeys([*measured, *named]))
    if not measured:
        raise ConfigError(f"bundle {manifest.name} has no measured points: run `python -m training evaluate` on it")
    labelled = LabelledSet(images, annotations, manifest.class_names, limit)
    labels = hashlib.sha256(annotations.read_bytes()).hexdigest()
    content = f"{manifest.digest} {code_digest()} {images.resolve()} {labels} {limit} {' '.join(map(str, points))}"
    layered = layered_points(device, points) if in_layers else []
    content += f" in {LAYERS} layers: {' '.join(map(str, layered))}" if layered else ""
    path = cache_folder() / "frame-banks" / f"{hashlib.sha256(content.encode()).hexdigest()[:16]}.npz"
    if path.exists():
        return load_bank(path)
    with detection_cache_of(manifest.digest) as cache:
        bank = make_bank(device, load_server(bundle), labelled, points, cache, layered)
    try:
        bank.save(path)
    except OSError as error:
        logger.warning("%s keeps no frame bank (%s): the next run makes it again", path.parent, error)
    return bank


def make_bank(
    device: DeviceBundle,
    server: ServerBundle,
    labelled: LabelledSet,
    points: Sequence[OperatingPoint],
    cache: DetectionCache | None = None,
    layered: Sequence[OperatingPoint] = (),
) -> FrameBank:
    """Return the bank of these points and, if the bundle has the detector, of LOCAL.

    layered: those of them that are also sent in layers.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    points = with_local(device, server, points)
    tallies = measure_points(device, server, labelled, points, cache)
    payload = np.array([tally.sizes for tally in tallies], np.int64).T
    parts, sizes, more = _parts(device, server, labelled, layered, cache)
    evaluated = [labelled.evaluated(tally.found) for tally in (*tallies, *more)]
    return assemble(points, payload, evaluated, labelled.image_ids, labelled.category_ids, parts, sizes)


def layered_points(device: DeviceBundle, points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """Return the points of the full width that have layers: what a frame in part is worth, is measured at those."""
    layered, widths = device.codec.layered, device.manifest.widths
    if layered is None:
        return []
    full = [point for point in points if point.codec is Codec.RANS and point.width == widths]
    return [point for point in full if layered.is_of_use(point.width, point.quality)]


def _parts(
    device: DeviceBundle,
    server: ServerBundle,
    labelled: LabelledSet,
    points: Sequence[OperatingPoint],
    cache: DetectionCache | None,
) -> tuple[list[InPart], dict[OperatingPoint, NDArray[np.int64]], list[Tally]]:
    """Return the incomplete forms of points, the sizes of their layers, and what was found in them."""
    parts = [InPart(point, used) for point in points for used in range(1, LAYERS)]
    systems = [LayeredSystem(device, server, part.point, used=part.used) for part in parts]
    tallies = measure(systems, labelled, cache=cache)
    sizes = {part.point: np.array(one.layer_bytes, np.int64) for part, one in zip(parts, systems, strict=True)}
    return parts, sizes, tallies
