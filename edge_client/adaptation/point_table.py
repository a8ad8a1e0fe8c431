"""The operating points that a controller chooses from: what each one gives, and costs on this device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from edge_client.adaptation.profile import DeviceProfile
from edge_client.percentiles import percentile
from splitnet.dominated import dominators_of, without_dominated
from splitnet.errors import ConfigError
from splitnet.operating_point import Mode, OperatingPoint

if TYPE_CHECKING:  # it needs torch, which a program that shows its help can do without
    from splitnet.manifest import Manifest
    from splitnet.measured_point import MeasuredPoint

Choice = Literal["auto", "split", "image", "local"]
# Of a frame in layers: the bytes that the first, the first two, and all of them take, over those of a whole frame; and
# the accuracy that they give, over its. Measured on the bundled encoders; docs/adaptation.md has the table.
LAYER_BYTES = (0.22, 0.5, 1.01)
LAYER_AP = (0.65, 0.88, 1.0)


@dataclass(frozen=True)
class PointCosts:
    """One operating point as measured."""

    point: OperatingPoint
    ap: float  # percent
    bytes_p50: float
    bytes_p90: float
    encode_ms: float  # on this device, with nothing else to do
    layer_bytes: tuple[float, ...] = LAYER_BYTES  # cumulative, over those of the whole; empty: it has no layers
    layer_ap: tuple[float, ...] = LAYER_AP  # over that of the whole

    def __post_init__(self) -> None:
        """Raise ConfigError on figures that no measurement gives."""
        if not (min(self.bytes_p50, self.bytes_p90, self.encode_ms) > 0 and self.ap >= 0):
            raise ConfigError(f"{self.point}: bytes and times must be positive; measure bundle and device again")

    @cached_property
    def kind(self) -> str:
        """What rows with the same computation share; see `work_kind`."""
        return work_kind(self.point)

    @cached_property
    def codec(self) -> str:
        """What rows share whose sizes vary together."""
        return self.point.codec.value


@dataclass(frozen=True)
class PointTable:
    """Every operating point worth choosing, the smallest first; and the device's own detector, if it has one."""

    rows: tuple[PointCosts, ...]
    local_ap: float | None = None
    local_ms: float | None = None

    def with_layers(self, has_layers: Callable[[OperatingPoint], bool]) -> PointTable:
        """Return the table with no layers where there are none."""
        rows = [row if has_layers(row.point) else replace(row, layer_bytes=(), layer_ap=()) for row in self.rows]
        return replace(self, rows=tuple(rows))

    def __post_init__(self) -> None:
        """Raise ConfigError if there is nothing to choose."""
        if not self.rows and self.local_ms is None:
            raise ConfigError("no operating point can be chosen: run `python -m training evaluate` on the bundle")


def work_kind(point: OperatingPoint) -> str:
    """Return a name for what a point lets the device compute: its width, its image codec, or the detector."""
    return f"w{point.width}" if point.mode is Mode.SPLIT else point.codec.value


def build_table(
    manifest: Manifest, profile: DeviceProfile, mode: Choice = "auto", with_streams: bool = False
) -> PointTable:
    """Return what a mode may choose from, with the bundle's accuracies and bytes and the device's times.

    with_streams: this device can encode video. Raises ConfigError if nothing is left.
    """
    wanted = {"auto": (Mode.SPLIT, Mode.IMAGE), "split": (Mode.SPLIT,), "image": (Mode.IMAGE,), "local": ()}[mode]
    rows = left_of(
        [_row(point, manifest, profile) for point in without_dominated(manifest.points) if point.mode in wanted]
    )
    if with_streams and Mode.IMAGE in wanted:  # what a stream takes is known only when it runs: none is beaten before
        rows = by_size([*rows, *(_row(point, manifest, profile) for point in manifest.stream_points)])
    local = manifest.local_detector if mode in ("auto", "local") else None
    if local is None or local.accuracy is None or profile.local_ms is None:
        return PointTable(rows)
    return PointTable(rows, local.accuracy.ap, profile.local_ms)


def left_of(rows: Sequence[PointCosts]) -> tuple[PointCosts, ...]:
    """Return the rows that no other one dominates by this device's times, the smallest first."""
    gone = dominators_of([(row.encode_ms, row.bytes_p50, row.bytes_p90, -row.ap) for row in rows])
    return by_size([row for i, row in enumerate(rows) if i not in gone])


def by_size(rows: Sequence[PointCosts]) -> tuple[PointCosts, ...]:
    """Return rows with the smallest first."""
    return tuple(sorted(rows, key=lambda row: (row.bytes_p50, row.encode_ms)))


def _row(point: MeasuredPoint, manifest: Manifest, profile: DeviceProfile) -> PointCosts:
    encode_ms = _encode_ms(point.point, point.encode_ms_p50, manifest, profile)
    return PointCosts(point.point, point.ap, point.bytes_mean, point.bytes_p90, encode_ms)


def _encode_ms(point: OperatingPoint, elsewhere_ms: float, manifest: Manifest, profile: DeviceProfile) -> float:
    """Return the device's time for a point: measured, or that of the same work, or scaled from the bundle's machine."""
    measured = profile.encode_ms
    if str(point) in measured:
        return measured[str(point)]
    alike = [
        measured[str(known.point)] * elsewhere_ms / known.encode_ms_p50
        for known in manifest.points
        if str(known.point) in measured and work_kind(known.point) == work_kind(point)
    ]
    return percentile(alike, 50) or elsewhere_ms * _slowdown(manifest, profile)


def _slowdown(manifest: Manifest, profile: DeviceProfile) -> float:
    """Return how many times slower than the bundle's machine the device is; 1 if nothing compares."""
    ratios = [
        profile.encode_ms[str(known.point)] / known.encode_ms_p50
        for known in manifest.points
        if str(known.point) in profile.encode_ms
    ]
    return percentile(ratios, 50) or 1.0
