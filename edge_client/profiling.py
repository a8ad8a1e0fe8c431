"""How long this device takes to encode a frame, for every width and every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np

from edge_client.encoder_runtime import EncodedFrame, EncoderRuntime
from edge_client.latency import percentile
from edge_client.source import Image
from splitnet.environment import environment
from splitnet.operating_point import Codec, OperatingPoint

WARM_UP_FRAMES = 5
DRAWN_FRAME_SIZE = (1280, 720)


@dataclass(frozen=True)
class WidthProfile:
    """What one width costs on this device. Times in milliseconds, of one frame."""

    width: int
    mmacs: float
    kilobytes_mean: float
    encode_ms_p50: float
    encode_ms_p90: float
    letterbox_ms_p50: float
    network_ms_p50: float  # encoder, gains and quantiser
    entropy_ms_p50: float


def profile_widths(encoder: EncoderRuntime, images: Sequence[Image], quality: int, frames: int) -> list[WidthProfile]:
    """Measure every width of a bundle on the given images (H, W, 3) uint8 BGR, taken in turn."""
    return [
        profile_width(encoder, images, OperatingPoint(Codec.RANS, width, quality), frames)
        for width in range(1, encoder.manifest.widths + 1)
    ]


def profile_width(encoder: EncoderRuntime, images: Sequence[Image], point: OperatingPoint, frames: int) -> WidthProfile:
    """Measure one operating point; the first few frames do not count."""
    encoder.check(point)
    encoded = [encoder.encode(image, point) for image in islice(cycle(images), WARM_UP_FRAMES + frames)]
    measured = encoded[WARM_UP_FRAMES:]
    height, width = images[0].shape[:2]
    return _summarised(point.width, encoder.mmacs(point.width, (width, height)), measured)


def _summarised(width: int, mmacs: float, frames: list[EncodedFrame]) -> WidthProfile:
    return WidthProfile(
        width=width,
        mmacs=round(mmacs, 2),
        kilobytes_mean=round(sum(len(frame.payload) for frame in frames) / len(frames) / 1000, 3),
        encode_ms_p50=round(percentile([frame.encode_ms for frame in frames], 50), 3),
        encode_ms_p90=round(percentile([frame.encode_ms for frame in frames], 90), 3),
        letterbox_ms_p50=round(percentile([frame.letterbox_ms for frame in frames], 50), 3),
        network_ms_p50=round(percentile([frame.network_ms for frame in frames], 50), 3),
        entropy_ms_p50=round(percentile([frame.entropy_ms for frame in frames], 50), 3),
    )


def profile_to_json(
    encoder: EncoderRuntime,
    images: Sequence[Image],
    quality: int,
    threads: int,
    widths: Sequence[WidthProfile],
) -> dict[str, Any]:
    """Return a profile with all that it depends on: machine, bundle, frame size, threads."""
    height, width = images[0].shape[:2]
    return {
        **environment(),
        "bundle": {"name": encoder.manifest.name, "digest": encoder.manifest.digest},
        "threads": threads,
        "frame": {"width": width, "height": height},
        "quality": quality,
        "widths": [asdict(found) for found in widths],
    }


def profile_table(widths: Sequence[WidthProfile]) -> str:
    """Return the profile as a table."""
    header = (
        f"{'width':>5} {'MMACs':>8} {'KB':>7} {'encode ms p50':>14} {'p90':>7} "
        f"{'letterbox':>10} {'network':>8} {'entropy':>8}"
    )
    rows = [
        f"{found.width:>5} {found.mmacs:>8.1f} {found.kilobytes_mean:>7.2f} {found.encode_ms_p50:>14.2f} "
        f"{found.encode_ms_p90:>7.2f} {found.letterbox_ms_p50:>10.2f} {found.network_ms_p50:>8.2f} "
        f"{found.entropy_ms_p50:>8.2f}"
        for found in widths
    ]
    return "\n".join([header, *rows])


def drawn_images(count: int) -> list[Image]:
    """Return pictures of a camera's usual size, all different: soft shading, hard-edged blocks and grain."""
    width, height = DRAWN_FRAME_SIZE
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:height, 0:width]
    images = []
    for _ in range(count):
        image = 90 + 60 * np.sin(rows / rng.uniform(60, 200))[..., None] * np.cos(columns / 150)[..., None]
        image = image + rng.normal(0, 6, (height, width, 3))
        for _ in range(12):
            top, left = int(rng.integers(0, height - 60)), int(rng.integers(0, width - 60))
            image[top : top + int(rng.integers(20, 200)), left : left + int(rng.integers(20, 200))] = rng.uniform(
                0, 255, 3
            )
        images.append(image.clip(0, 255).astype(np.uint8))
    return images
