"""Measurements of this device: the time to encode a frame at each operating point, and to detect objects itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import count, cycle
from typing import TYPE_CHECKING, Any

from edge_client.adaptation.profile import DeviceProfile
from edge_client.encoding.backends import TORCH
from edge_client.encoding.encoder import EncoderRuntime
from edge_client.encoding.local_detector import LocalRuntime
from edge_client.frames import EncodedFrame, Image
from edge_client.percentiles import percentile
from splitnet.environment import environment
from splitnet.operating_point import LOCAL, Codec, Mode, OperatingPoint
from splitnet.text_table import text_table

if TYPE_CHECKING:
    from splitnet.manifest import Manifest

WARM_UP_ROUNDS = 2
LEAST_ROUNDS = 3
COLUMNS = ("point", "MMACs", "KB", "KB p90", "KB at most", "encode ms p50", "p90", "letterbox", "network", "entropy")


@dataclass(frozen=True)
class Effort:
    """The end of measuring: after this many frames at each operating point, or this time, whichever comes first."""

    frames: int = 50
    seconds: float = 25.0


@dataclass(frozen=True)
class PointProfile:
    """What one operating point costs on this device. Times in milliseconds, of one frame."""

    point: OperatingPoint
    mmacs: float | None  # None: not counted
    kilobytes_mean: float
    kilobytes_p90: float
    kilobytes_cap: float | None  # no frame takes more; None: not bounded by us
    encode_ms_p50: float
    encode_ms_p90: float
    letterbox_ms_p50: float  # the input's conversion: scaling and padding; the networks take the camera's own colours
    network_ms_p50: float  # encoder, gains and quantiser; or the whole detector
    entropy_ms_p50: float  # or the image codec

    def to_json(self) -> dict[str, Any]:
        """Return the figures as a JSON object."""
        return {**asdict(self), "point": str(self.point)}


def points_to_measure(manifest: Manifest, quality: int, has_local: bool) -> list[OperatingPoint]:
    """Return every width at one quality, the image points that the bundle has measured, and LOCAL if it is there."""
    widths = [OperatingPoint(Codec.RANS, width, quality) for width in range(1, manifest.widths + 1)]
    known = [p.point for p in manifest.points if p.mode is Mode.IMAGE]
    return [*widths, *dict.fromkeys(known), *([LOCAL] if has_local else [])]


def measure(
    encoder: EncoderRuntime,
    local: LocalRuntime | None,
    images: Sequence[Image],
    points: Sequence[OperatingPoint],
    effort: Effort,
    on_progress: Callable[[float], None] = lambda share: None,
    clock: Callable[[], float] = time.monotonic,
) -> list[PointProfile]:
    """Measure operating points on the given images (H, W, 3) uint8 BGR, taken in turn.

    Goes round by round through all points, so that a passing load on the device falls on each of them alike.
    `on_progress` is called with the share that is done, 0..1. Raises ConfigError for points outside of the bundle.
    """
    for point in points:
        encoder.check(point)
    samples: dict[OperatingPoint, list[EncodedFrame]] = {point: [] for point in points}
    sources, begun = cycle(images), clock()
    for number in count(1):
        image = next(sources)
        for point in points:
            samples[point].append(_encode(encoder, local, image, point))
        rounds = number - WARM_UP_ROUNDS
        share = max(rounds / effort.frames, (clock() - begun) / effort.seconds)
        on_progress(min(1.0, max(0.0, share)))
        if rounds >= min(LEAST_ROUNDS, effort.frames) and share >= 1:
            break
    size = images[0].shape[1], images[0].shape[0]
    return [_summarised(encoder, point, size, found[WARM_UP_ROUNDS:]) for point, found in samples.items()]


def profile_of(
    manifest: Manifest, device: str, measured: Sequence[PointProfile], local: LocalRuntime | None = None
) -> DeviceProfile:
    """Return what was measured as a profile; a width's time counts for all its qualities.

    local: the device's own detector, if it was measured.
    """
    encode_ms: dict[str, float] = {}
    for found in measured:
        if found.point.mode is Mode.SPLIT:
            for quality in range(manifest.qualities):
                encode_ms[str(OperatingPoint(found.point.codec, found.point.width, quality))] = found.encode_ms_p50
        elif found.point != LOCAL:
            encode_ms[str(found.point)] = found.encode_ms_p50
    alone = next((found for found in measured if found.point == LOCAL), None)
    if alone is None:
        return DeviceProfile(device, manifest.digest, encode_ms)
    times = (alone.encode_ms_p50, alone.encode_ms_p90)
    what = (None, None) if local is None else (local.backend, local.digest)
    return DeviceProfile(device, manifest.digest, encode_ms, *times, *what)


def _encode(encoder: EncoderRuntime, local: LocalRuntime | None, image: Image, point: OperatingPoint) -> EncodedFrame:
    if point != LOCAL:
        return encoder.encode(image, point)
    assert local is not None
    return local.detect(image)[0]


def _summarised(
    encoder: EncoderRuntime, point: OperatingPoint, size: tuple[int, int], frames: Sequence[EncodedFrame]
) -> PointProfile:
    def p50(times: Sequence[float]) -> float:
        return round(percentile(times, 50), 3)

    sizes = [float(len(frame.payload)) for frame in frames]
    cap = encoder.byte_cap(point)
    return PointProfile(
        point=point,
        mmacs=round(encoder.mmacs(point.width, size), 2) if point.mode is Mode.SPLIT else None,
        kilobytes_mean=round(sum(sizes) / len(sizes) / 1000, 3),
        kilobytes_p90=round(percentile(sizes, 90) / 1000, 3),
        kilobytes_cap=None if cap is None else cap / 1000,
        encode_ms_p50=p50([frame.encode_ms for frame in frames]),
        encode_ms_p90=round(percentile([frame.encode_ms for frame in frames], 90), 3),
        letterbox_ms_p50=p50([frame.letterbox_ms for frame in frames]),
        network_ms_p50=p50([frame.network_ms for frame in frames]),
        entropy_ms_p50=p50([frame.entropy_ms for frame in frames]),
    )


def profile_to_json(
    profile: DeviceProfile,
    bundle_name: str,
    frame_size: tuple[int, int],
    measured: Sequence[PointProfile],
    backend: str = TORCH,
) -> dict[str, Any]:
    """Return a profile, its details and what it depends on: machine, bundle, back end, frame size (width, height)."""
    return {
        **environment(),
        "bundle": bundle_name,
        "backend": backend,
        "frame": {"width": frame_size[0], "height": frame_size[1]},
        "points": [found.to_json() for found in measured],
        "profile": profile.to_json(),
    }


def profile_table(measured: Sequence[PointProfile]) -> str:
    """Return the profile as a table."""
    return text_table(COLUMNS, [_row(found) for found in measured], left=("point",))


def _row(found: PointProfile) -> tuple[str, ...]:
    sizes = (found.kilobytes_mean, found.kilobytes_p90) if found.point.is_sent else (None, None)
    times = (found.encode_ms_p50, found.encode_ms_p90)
    parts = (found.letterbox_ms_p50, found.network_ms_p50, found.entropy_ms_p50)
    figures = (*sizes, found.kilobytes_cap, *times, *parts)
    mmacs = "" if found.mmacs is None else f"{found.mmacs:.1f}"
    return (str(found.point), mmacs, *("" if one is None else f"{one:.2f}" for one in figures))
