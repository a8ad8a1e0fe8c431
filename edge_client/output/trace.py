"""A line for every captured frame: what was chosen, why, what was expected, what came of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge_client.adaptation.policy import LatencyBreakdown
from edge_client.frames import ChosenFrame, Fate, actual_breakdown
from splitnet.errors import ConfigError


class TraceFile:
    """Writes fates as JSON lines in the order in which they are known, flushed at once."""

    option = "--trace-out"

    def __init__(self, path: Path, deadline_ms: float, started: float) -> None:
        """Open the file; started: when, on the clock of the frames. Raises ConfigError if it cannot be written."""
        self._deadline_ms = deadline_ms
        self._started = started
        try:
            self._file = path.open("w", buffering=1, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror}); choose another --trace-out") from error

    def write(self, fate: Fate) -> None:
        """Write a line; raise OSError when the disk is full."""
        self._file.write(json.dumps(trace_record(fate, self._started, self._deadline_ms)) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def trace_record(fate: Fate, started: float, deadline_ms: float) -> dict[str, Any]:
    """Return a frame's line. Of a frame that was overtaken before it was chosen there is little to say."""
    frame, result = fate.frame, fate.result
    record: dict[str, Any] = {
        **({"camera": frame.camera} if frame.camera else {}),
        "frame_id": frame.frame_id,
        "time_s": round(frame.capture_time - started, 4),
        "position": frame.frame_id - 1,  # every image of the source becomes a frame
        "deadline_ms": deadline_ms,
        "outcome": fate.outcome.value,
        "bytes": 0 if fate.encoded is None else len(fate.encoded.payload),
        "builds_on": None if fate.encoded is None else fate.encoded.builds_on,
        "total_ms": None if result is None else round(result.end_to_end_ms, 2),
        "actual": None,
    }
    if fate.encoded is not None and fate.encoded.layers:
        record |= {"layers": len(fate.encoded.layers), "layers_used": None if result is None else result.layers_used}
    if fate.chosen is not None:
        record |= _choice(fate.chosen)
        if fate.encoded is not None and fate.encoded.point != fate.chosen.decision.point:
            record["sent"] = str(fate.encoded.point)  # coarser than chosen: it would have burst its cap
        if result is not None:
            record["actual"] = _breakdown(actual_breakdown(fate.chosen, result))
    return record


def _choice(chosen: ChosenFrame) -> dict[str, Any]:
    state, cpu = chosen.policy_state, chosen.cpu
    return {
        "point": str(chosen.decision.point),
        "mode": chosen.decision.point.mode.value,
        "reason": chosen.decision.reason,
        "predicted": None if chosen.decision.predicted is None else _breakdown(chosen.decision.predicted),
        "link": {
            "capacity_bps": _rounded(state.capacity_bps),
            "capacity_low_bps": _rounded(state.capacity_low_bps),
            "capacity_is_bound": state.capacity_is_bound,
            "rtt_min_ms": _rounded(state.rtt_min_ms),
            "in_flight_bytes": state.in_flight_bytes,
            "overusing": state.overusing,
        },
        "cpu": None if cpu is None else {"busy": round(cpu.busy, 3), "own": round(cpu.own, 3)},
        "load_factor": _rounded(state.load_factor),
    }


def _breakdown(breakdown: LatencyBreakdown) -> dict[str, float]:
    return {name: round(value, 2) for name, value in asdict(breakdown).items()}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
