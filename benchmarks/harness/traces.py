"""Links that change over time: recorded ones, and ones made up of steps, ramps and outages.

A trace is a list of opportunities to deliver some bytes, as Mahimahi records them (Netravali et al., USENIX
ATC 2015): what is not waiting at that moment misses it. At its end a trace starts over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splitnet.errors import ConfigError

PACKET_BYTES = 1500
_INSTANT = 1e-9  # seconds: less than rounding may take from a moment
_CRUMB = 1e-6  # bytes: less than rounding may leave of a packet
SLICE_S = 0.001  # made-up links deliver at least this often, if less than a packet at a time
MAX_DURATION_S = 7200.0  # of links made of rates: what bounds their slices
MAX_MBPS = 1e6
MAX_FILE_BYTES = 50_000_000
CSV = ".csv"

Seconds = NDArray[np.float64]
Bytes = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trace:
    """When a link can deliver how much."""

    name: str
    times_s: NDArray[np.float64]  # (n,) ascending, each opportunity's moment
    bytes_: NDArray[np.float64]  # (n,) what it can deliver
    duration_s: float  # then it starts over

    def __post_init__(self) -> None:
        """Raise ConfigError if the opportunities are no link at all."""
        ordered = len(self.times_s) == len(self.bytes_) > 0 and bool(np.all(np.diff(self.times_s) >= 0))
        inside = ordered and self.times_s[0] >= 0 and self.times_s[-1] <= self.duration_s
        if not (inside and self.duration_s > 0 and self._sum[-1] > 0):
            raise ConfigError(f"trace {self.name} needs ascending times and something to deliver")

    @cached_property
    def _sum(self) -> NDArray[np.float64]:
        """(n,): bytes delivered up to and with each opportunity."""
        return np.cumsum(self.bytes_)

    def delivered_bytes(self, until_s: Seconds) -> Bytes:
        """Return what the link could have delivered from its start until a moment (or many), that one included."""
        rounds, within_s = np.divmod(until_s + _INSTANT, self.duration_s)
        before = np.searchsorted(self.times_s, within_s, side="right")
        return np.asarray(rounds * self._sum[-1] + np.where(before > 0, self._sum[before - 1], 0.0))

    def capacity_bps(self, start_s: float, end_s: float) -> float:
        """Return the mean capacity between two moments, in bits a second."""
        delivered = self.delivered_bytes(np.array([start_s, end_s]))
        return 8 * float(delivered[1] - delivered[0]) / (end_s - start_s)

    def finish_times(self, start_s: Seconds, size_bytes: Bytes) -> Seconds:
        """Return when the link has delivered the last of so many bytes that wait since a moment. Elementwise."""
        rounds, needed = np.divmod(self.delivered_bytes(start_s) + size_bytes - _CRUMB, self._sum[-1])
        index = np.minimum(np.searchsorted(self._sum, needed), len(self._sum) - 1)
        return np.asarray(rounds * self.duration_s + self.times_s[index])

    def finish_time(self, start_s: float, size_bytes: float) -> float:
        """Return when the link has delivered the last of so many bytes that wait for it since a moment."""
        return float(self.finish_times(np.array(start_s), np.array(size_bytes)))


def read_mahimahi(path: Path) -> Trace:
    """Read a Mahimahi trace: each line the milliseconds of an opportunity for one packet of 1500 bytes."""
    values = _read(path, "one time in milliseconds a line")[:, 0] / 1000
    times_s = _spread(values)
    return Trace(path.stem, times_s, np.full(len(values), float(PACKET_BYTES)), float(times_s[-1]))


def read_csv(path: Path) -> Trace:
    """Read lines of "seconds,Mbps", under a header or not: each rate holds until the next line's second.

    The last line only ends it.
    """
    values = _read(path, "seconds,Mbps on every line")
    if values.shape[1] != 2 or len(values) < 2:
        raise ConfigError(f"{path} needs seconds,Mbps on every line, and at least two lines")
    seconds = np.diff(values[:, 0])
    return _from_rates(path.stem, [(float(mbps), float(s)) for mbps, s in zip(values[:-1, 1], seconds, strict=True)])


def read_trace(path: Path) -> Trace:
    """Read a trace of either kind: CSV by its suffix, Mahimahi otherwise."""
    return read_csv(path) if path.suffix == CSV else read_mahimahi(path)


def steps(levels_mbps: Sequence[float], seconds_each: float, name: str = "steps") -> Trace:
    """Return a link that holds each level for a while."""
    return _from_rates(name, [(level, seconds_each) for level in levels_mbps])


def ramp(from_mbps: float, to_mbps: float, seconds: float, name: str = "ramp") -> Trace:
    """Return a link that goes from one rate to another in tenths of a second, and back."""
    there = np.linspace(from_mbps, to_mbps, max(2, round(10 * seconds)))
    return _from_rates(name, [(float(level), 0.1) for level in [*there, *there[::-1]]])


def with_outages(trace: Trace, outages_s: Sequence[tuple[float, float]]) -> Trace:
    """Return the trace without what it delivers inside the outages, given as (start, length) in seconds."""
    kept = np.ones(len(trace.times_s), bool)
    for start_s, length_s in outages_s:
        kept &= (trace.times_s < start_s) | (trace.times_s >= start_s + length_s)
    return Trace(f"{trace.name}-outages", trace.times_s[kept], trace.bytes_[kept], trace.duration_s)


def part(trace: Trace, start_s: float, seconds: float) -> Trace:
    """Return a piece of a trace, as a trace of its own."""
    inside = (trace.times_s >= start_s) & (trace.times_s < start_s + seconds)
    return Trace(trace.name, trace.times_s[inside] - start_s, trace.bytes_[inside], seconds)


def _spread(times_s: Seconds) -> Seconds:
    """Return times at which the packets of one millisecond follow one another in it."""
    _, first, count = np.unique(times_s, return_index=True, return_counts=True)
    within = np.arange(len(times_s)) - np.repeat(first, count)
    return np.asarray(times_s + within / np.repeat(count, count) / 1000)


def _from_rates(name: str, rates: Sequence[tuple[float, float]]) -> Trace:
    """Return a link of (Mbps, seconds) pieces. Opportunities carry a packet, or less where packets are rarer."""
    if any(not 0 <= mbps <= MAX_MBPS or seconds <= 0 for mbps, seconds in rates):
        raise ConfigError(f"trace {name}: rates are 0 to {MAX_MBPS:.0f} Mbps, and every one needs a time")
    if sum(seconds for _, seconds in rates) > MAX_DURATION_S:
        raise ConfigError(f"trace {name} lasts longer than {MAX_DURATION_S:.0f} s: cut it into parts")
    times, sizes, begin = [], [], 0.0
    for mbps, seconds in rates:
        count = max(1, round(seconds / SLICE_S))
        times.append(begin + (np.arange(count) + 1) * seconds / count)
        sizes.append(np.full(count, mbps * 1e6 / 8 * seconds / count))
        begin += seconds
    return Trace(name, np.concatenate(times), np.concatenate(sizes), begin)


def _read(path: Path, expected: str) -> NDArray[np.float64]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path} is over {MAX_FILE_BYTES} bytes: cut it into parts")
        lines = [line.split(",") for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        body = lines[1:] if lines and path.suffix == CSV and not any(map(_is_number, lines[0])) else lines
        values = np.array([[float(value) for value in line] for line in body], np.float64)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is no trace ({error}); it needs {expected}") from error
    if values.ndim != 2 or not np.isfinite(values).all() or (values < 0).any() or (np.diff(values[:, 0]) < 0).any():
        raise ConfigError(f"{path} is no trace: it needs {expected}, ascending, none negative")
    return values


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
