"""Traces of `edge-client run --trace-out` and of the simulation, read back. Pure but for `read_run`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitnet.errors import ConfigError

IN_TIME = frozenset({"answered", "local"})  # outcomes with detections that still mattered
DETECTED = IN_TIME | {"late"}


@dataclass(frozen=True)
class FrameRecord:
    """One captured frame. Times in seconds from the run's start, and in milliseconds; None where nothing is known."""

    time_s: float
    position: int  # of the source, counted over its repetitions
    outcome: str
    deadline_ms: float  # 0 for none
    payload_bytes: int = 0
    total_ms: float | None = None
    point: str | None = None  # None: overtaken before one was chosen
    mode: str | None = None
    predicted_ms: float | None = None
    capacity_bps: float | None = None
    capacity_low_bps: float | None = None
    overusing: bool = False
    cpu_busy: float | None = None  # 0..1 of all cores
    cpu_own: float | None = None
    load_factor: float | None = None

    @property
    def in_time(self) -> bool:
        """Whether its detections met the deadline."""
        return self.outcome in IN_TIME


def read_run(path: Path) -> list[FrameRecord]:
    """Return the frames of a trace in the order of their capture. Raises ConfigError if it is none."""
    try:
        with path.open(encoding="utf-8") as lines:
            records = parse_run(line for line in lines if line.endswith("\n"))  # the last may be cut short by a kill
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); --trace-out of edge-client writes one") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is not a trace of a run; --trace-out of edge-client writes one") from error
    if not records:
        raise ConfigError(f"{path} holds no frames: the run has captured none")
    return records


def link_beside(run: Path) -> Path:
    """Return where a run's trace has what its link could carry, in seconds of the run, if that is known."""
    return run.with_suffix(".link.csv")


def parse_run(lines: Iterable[str]) -> list[FrameRecord]:
    """Return the frames of JSON lines in the order of their capture, whenever their fate was known."""
    return sorted((_record(json.loads(line)) for line in lines), key=lambda record: record.time_s)


def _record(line: Mapping[str, Any]) -> FrameRecord:
    link, cpu, predicted = (line.get(key) or {} for key in ("link", "cpu", "predicted"))
    return FrameRecord(
        time_s=float(line["time_s"]),
        position=int(line["position"]),
        outcome=str(line["outcome"]),
        deadline_ms=float(line["deadline_ms"]),
        payload_bytes=int(line.get("bytes") or 0),
        total_ms=line.get("total_ms"),
        point=line.get("point"),
        mode=line.get("mode"),
        predicted_ms=sum(predicted.values()) if predicted else None,
        capacity_bps=link.get("capacity_bps"),
        capacity_low_bps=link.get("capacity_low_bps"),
        overusing=bool(link.get("overusing")),
        cpu_busy=cpu.get("busy"),
        cpu_own=cpu.get("own"),
        load_factor=line.get("load_factor"),
    )


def lane(record: FrameRecord) -> str | None:
    """Return what kind of work a frame was: "w4", "jpeg", "local", "skip"; None if nothing was chosen."""
    return None if record.point is None else record.point.partition(" ")[0]


def lanes(records: Sequence[FrameRecord]) -> list[str]:
    """Return the kinds of work of a run from the least to the most that reaches the server.

    All widths up to the widest are among them, if any is.
    """
    seen = {name for record in records if (name := lane(record)) is not None}
    widest = max((int(name[1:]) for name in seen if _is_width(name)), default=0)
    widths = [f"w{width}" for width in range(1, widest + 1)]
    rest = sorted(seen - {"skip", "local", *widths})
    return [name for name in ("skip", "local") if name in seen] + widths + rest


def _is_width(name: str) -> bool:
    return name[:1] == "w" and name[1:].isdigit()
