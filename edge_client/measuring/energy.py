"""The board's power, where it measures it: the energy that a frame costs. Elsewhere this says that it does not know.

Read are, in this order: RAPL's counters of energy (Linux powercap, x86), energy and power sensors of hwmon (`energy*`,
`power*`; Linux Documentation/hwmon/sysfs-interface), and INA sensors of voltage and current as on Jetson boards (`in*`
and `curr*` of a hwmon device of that name). Power is of the whole rail or package: other programs' work counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

POWERCAP = Path("/sys/class/powercap")
HWMON = Path("/sys/class/hwmon")
POLL_S = 0.05
MAX_WATTS = 1000.0  # beyond it, a sensor is broken
INA = ("ina3221", "ina3221x", "ina219", "ina226", "ina230", "ina231")


class Meter(NamedTuple):
    """Something that measures energy or power."""

    name: str  # for people
    joules: Callable[[], float] | None = None  # a counter, which may wrap at `wraps_at`
    watts: Callable[[], float] | None = None
    wraps_at: float = 0.0


class Energy(NamedTuple):
    """What was measured of a piece of work."""

    joules: float
    seconds: float
    meter: str


def find_meter(powercap: Path = POWERCAP, hwmon: Path = HWMON) -> Meter | None:
    """Return the first meter that works, None if the board has none or does not let us read it."""
    for meter in (*_rapl(powercap), *_hwmon(hwmon)):
        with suppress(OSError, ValueError):
            (meter.joules or meter.watts or _nothing)()
            return meter
    return None


def _nothing() -> float:
    raise OSError("measures nothing")


def _rapl(folder: Path) -> Iterator[Meter]:
    for package in sorted(folder.glob("intel-rapl:?")):
        with suppress(OSError, ValueError):
            wraps_at = _number(package / "max_energy_range_uj") / 1e6
            name = f"RAPL {(package / 'name').read_text().strip()}"
            yield Meter(name, joules=partial(_millionths, package / "energy_uj"), wraps_at=wraps_at)


def _hwmon(folder: Path) -> Iterator[Meter]:
    devices = sorted(folder.glob("hwmon*"))
    for device in devices:
        name = _name(device)
        for path in sorted(device.glob("energy[0-9]_input")):
            yield Meter(f"{name} {path.name}", joules=partial(_millionths, path))
        for path in sorted([*device.glob("power[0-9]_input"), *device.glob("power[0-9]_average")]):
            yield Meter(f"{name} {path.name}", watts=partial(_millionths, path))
    for device in devices:
        rails = [
            (device / f"in{number}_input", device / f"curr{number}_input")
            for number in (1, 2, 3)
            if (device / f"in{number}_input").exists() and (device / f"curr{number}_input").exists()
        ]
        if _name(device) in INA and rails:
            # The first rail is the board's whole input (VDD_IN on a Jetson); the others are part of it.
            yield Meter(f"{_name(device)} rail 1", watts=partial(_rail_watts, *rails[0]))


def _name(device: Path) -> str:
    try:
        return (device / "name").read_text().strip()
    except OSError:
        return device.name


def _millionths(path: Path) -> float:
    return _number(path) / 1e6


def _rail_watts(millivolts: Path, milliamperes: Path) -> float:
    return _number(millivolts) * _number(milliamperes) / 1e6


def _number(path: Path) -> float:
    return float(path.read_text())


class EnergyMeter:
    """Measures the energy of what happens between `start` and `stop`."""

    def __init__(self, meter: Meter, clock: Callable[[], float] = time.monotonic, poll_s: float = POLL_S) -> None:
        """Take what measures. Power is looked at every poll_s seconds, in a thread."""
        self._meter = meter
        self._clock = clock
        self._poll_s = poll_s
        self._joules = 0.0
        self._ended = Event()

    def start(self) -> None:
        """Begin."""
        self._began = self._clock()
        if self._meter.joules is not None:
            self._before = self._meter.joules()
            return
        self._thread = Thread(target=self._poll, name="energy", daemon=True)
        self._thread.start()

    def stop(self) -> Energy | None:
        """Return what was measured since; None if the meter failed, or says what cannot be."""
        seconds = self._clock() - self._began
        with suppress(OSError, ValueError):
            joules = self._counted() if self._meter.joules is not None else self._summed()
            if seconds > 0 and 0 < joules <= MAX_WATTS * seconds:
                return Energy(joules, seconds, self._meter.name)
        return None

    def _counted(self) -> float:
        assert self._meter.joules is not None
        joules = self._meter.joules() - self._before
        return joules + self._meter.wraps_at if joules < 0 else joules

    def _summed(self) -> float:
        self._ended.set()
        self._thread.join()
        return self._joules

    def _poll(self) -> None:
        """Add power up, each reading for the time since the one before."""
        assert self._meter.watts is not None
        last = self._began
        while not self._ended.is_set():
            self._ended.wait(self._poll_s)
            now = self._clock()
            with suppress(OSError, ValueError):
                self._joules += self._meter.watts() * (now - last)
            last = now
