"""The `streams` command: what H.264 at each quality is worth, for a bundle's manifest, by which devices choose.

Accuracy and bytes are those of keyframes, on labelled images. What the pictures between them take, a device learns
from its own camera.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitnet.bundle import load_device, load_server
from splitnet.codec.h264 import H264Decoder, H264Encoder, require_av
from splitnet.errors import ConfigError
from splitnet.letterbox import Letterbox
from splitnet.manifest import Manifest
from splitnet.measured_point import MeasuredPoint
from splitnet.nn.detector import Detector
from splitnet.operating_point import Codec, Mode, OperatingPoint
from splitnet.settings import count, option
from splitnet.text_table import text_table
from training.command import Command
from training.evaluation.average_precision import LabelledSet
from training.evaluation.measure import measure
from training.evaluation.systems import InSquare

QUALITIES = (5, 9, 13, 17, 21, 25, 29)  # constant rate factors of 46 to 22


@dataclass(frozen=True)
class StreamsSettings:
    """Which bundle gets figures, and from which images."""

    bundle: Path = option("the bundle whose manifest gets the figures, in place", metavar="DIR")
    images: Path = option("labelled images, never trained on", metavar="DIR")
    annotations: Path = option("their COCO annotations", metavar="FILE")
    limit: int | None = option("only the first N images: a quick look, which writes nothing", default=None, type=count)
    threads: int = option("CPU threads; encode times are quoted for one", default=1, type=count)


@dataclass
class KeyframeSystem(InSquare):
    """Images as keyframes of H.264, for the unsplit detector."""

    detector: Detector
    input_size: int
    quality: int
    stream_ms: list[float] = field(default_factory=list)  # of the same image as the next picture

    def compress(self, frame: NDArray[np.uint8], box: Letterbox) -> bytes:
        """Letterbox and compress, twice: the second time as a stream goes on."""
        encoder = H264Encoder()
        payload = encoder.encode(box.apply(frame), self.quality)
        begin = time.process_time()  # one thread: what it takes where nothing else runs
        encoder.encode(box.apply(frame), self.quality)
        self.stream_ms.append(1e3 * (time.process_time() - begin))
        return payload

    def raw(self, payload: bytes, box: Letterbox) -> Tensor:
        """Decompress and run the whole detector."""
        return self.raw_of(H264Decoder().decode(payload, self.input_size, self.input_size))


def measure_streams(settings: StreamsSettings) -> tuple[MeasuredPoint, ...]:
    """Measure, and write the figures into the manifest unless there is a limit; returns them. ConfigError."""
    require_av()
    device, server = load_device(settings.bundle), load_server(settings.bundle)
    if server.detector is None:
        raise ConfigError(f"bundle {device.manifest.name} has no unsplit detector, which H.264 would be sent to")
    manifest = device.manifest
    labelled = LabelledSet(settings.images, settings.annotations, manifest.class_names, settings.limit)
    systems = [KeyframeSystem(server.detector, manifest.input_size, quality) for quality in QUALITIES]
    with torch.inference_mode():
        tallies = measure(systems, labelled)
    points = []
    for system, tally in zip(systems, tallies, strict=True):
        accuracy = labelled.accuracy(tally.found)
        points.append(
            MeasuredPoint(
                mode=Mode.IMAGE,
                codec=Codec.H264,
                width=0,
                quality=system.quality,
                ap=accuracy.ap,
                ap50=accuracy.ap50,
                bytes_mean=round(float(np.mean(tally.sizes)), 1),
                bytes_p90=round(float(np.percentile(tally.sizes, 90)), 1),
                encode_ms_p50=round(float(np.median(system.stream_ms)), 3),
                mmacs=0.0,
            )
        )
    if settings.limit is None:
        _write(settings.bundle, manifest, tuple(points))
    return tuple(points)


def _write(folder: Path, manifest: Manifest, points: tuple[MeasuredPoint, ...]) -> None:
    replace(manifest, stream_points=points).write(folder)


def _run(settings: StreamsSettings) -> str:
    rows = [
        (str(OperatingPoint(one.codec, one.width, one.quality)), f"{one.bytes_mean / 1e3:.2f}", f"{one.ap:.1f}")
        for one in measure_streams(settings)
    ]
    return text_table(("point", "KB of a keyframe", "AP"), rows, left=("point",))


COMMAND = Command("streams", "measure H.264 for a bundle's manifest", StreamsSettings, _run)
