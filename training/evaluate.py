"""Measure a bundle: accuracy, bytes and encode time of every operating point, through the real bitstream."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from splitnet.bundle import DeviceBundle, ServerBundle
from splitnet.codec.image_codec import compress_image, decompress_image
from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.letterbox import Letterbox
from splitnet.manifest import Accuracy, MeasuredPoint
from splitnet.nn.boxes import detections_from_raw
from splitnet.nn.split_detector import image_input
from splitnet.nn.yolox import YOLOX
from splitnet.operating_point import Codec, Mode, OperatingPoint
from training.average_precision import LabelledSet
from training.photographs import read_photograph

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

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


@dataclass
class _Tally:
    """What one operating point has gathered so far."""

    sizes: list[int] = field(default_factory=list)
    encode_ms: list[float] = field(default_factory=list)
    found: list[Detections] = field(default_factory=list)


def operating_points(
    device: DeviceBundle, widths: Sequence[int] = (), with_images: bool = True
) -> list[OperatingPoint]:
    """Return every operating point of a bundle, or those of some widths; with the picture codecs' if asked."""
    chosen = widths or range(1, device.manifest.widths + 1)
    split = [OperatingPoint(Codec.RANS, w, q) for w in chosen for q in range(device.manifest.qualities)]
    return split + (list(IMAGE_POINTS) if with_images else [])


def evaluate(
    device: DeviceBundle, server: ServerBundle, labelled: LabelledSet, points: Sequence[OperatingPoint]
) -> Evaluation:
    """Run every picture through every operating point. One thread, so that times compare."""
    if server.detector is None:
        points = [p for p in points if p.mode is Mode.SPLIT]
    device.codec.warm_up()
    tallies = {point: _Tally() for point in points}
    unsplit: list[Detections] = []
    for image in tqdm(labelled.images, unit="picture"):
        frame = _read(image.path)
        box = Letterbox.fit(frame.shape[1], frame.shape[0], device.manifest.input_size)
        payloads = [_compress(device, frame, box, point, tallies[point]) for point in points]
        for tally, found in zip(tallies.values(), _detect(server, payloads, points, box), strict=True):
            tally.found.append(found)
        if server.detector is not None:
            unsplit.append(_unsplit(server.detector, frame, box, server.manifest.input_size))
    accuracy = labelled.accuracy(unsplit) if unsplit else None
    return Evaluation(accuracy, tuple(_point(device, labelled, p, t) for p, t in tallies.items()))


def _compress(
    device: DeviceBundle, frame: NDArray[np.uint8], box: Letterbox, point: OperatingPoint, tally: _Tally
) -> bytes:
    """Do all that the device does for a frame, and note its time and bytes."""
    start = time.perf_counter()
    canvas = box.apply(frame)
    if point.mode is Mode.IMAGE:
        payload = compress_image(canvas, point.codec, point.quality)
    else:
        symbols = device.encoder.encode(canvas, point.width, point.quality)
        payload = device.codec.compress(symbols, point.width, point.quality, point.codec)
    tally.encode_ms.append(1e3 * (time.perf_counter() - start))
    tally.sizes.append(len(payload))
    return payload


@torch.inference_mode()
def _detect(
    server: ServerBundle, payloads: Sequence[bytes], points: Sequence[OperatingPoint], box: Letterbox
) -> Iterator[Detections]:
    """Do all that the server does; yields detections in pixels of the frame, one for each payload."""
    for payload, point in zip(payloads, points, strict=True):
        yield _finish(_raw(server, payload, point), box, server.manifest.input_size)


def _raw(server: ServerBundle, payload: bytes, point: OperatingPoint) -> Tensor:
    size = server.manifest.input_size
    if point.mode is Mode.IMAGE:
        assert server.detector is not None
        raw: Tensor = server.detector(image_input(decompress_image(payload, point.codec, size, size), size)[None])
    else:
        header, symbols = server.codec.decompress(payload)
        raw = server.half(server.half.dequantise(symbols, header.width, header.quality)[None])
    return raw


def unsplit_detections(detector: YOLOX, path: Path, input_size: int) -> Detections:
    """Return what the whole detector finds in an uncompressed picture, in its pixels."""
    frame = _read(path)
    return _unsplit(detector, frame, Letterbox.fit(frame.shape[1], frame.shape[0], input_size), input_size)


@torch.inference_mode()
def _unsplit(detector: YOLOX, frame: NDArray[np.uint8], box: Letterbox, input_size: int) -> Detections:
    return _finish(detector(image_input(box.apply(frame), input_size)[None]), box, input_size)


def _read(path: Path) -> NDArray[np.uint8]:
    frame = read_photograph(path)
    if frame is None:
        raise ConfigError(f"{path} is not a readable picture")
    return frame


def _finish(raw: Tensor, box: Letterbox, input_size: int) -> Detections:
    (found,) = detections_from_raw(raw, input_size, SCORE_THRESHOLD)
    return Detections(box.boxes_to_frame(found.boxes), found.scores, found.labels)


def _point(device: DeviceBundle, labelled: LabelledSet, point: OperatingPoint, tally: _Tally) -> MeasuredPoint:
    accuracy = labelled.accuracy(tally.found)
    usual = Letterbox.fit(640, 480, device.manifest.input_size)
    is_split = point.mode is Mode.SPLIT
    mmacs = device.encoder.mmacs(point.width, usual.canvas_height, usual.canvas_width) if is_split else 0.0
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
        mmacs=round(mmacs, 2),
    )
