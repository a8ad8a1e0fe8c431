"""Simulated runs as real ones and back: drawn by the same figure, measured by the same figures."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmarks.adaptation.simulation import FrameLog, Outcome
from benchmarks.harness.run_trace import FrameRecord
from edge_client.adaptation.policy import Decision, FrameContext, Policy, PolicyState
from splitnet.operating_point import LOCAL, parse_point

OUTCOMES = {
    Outcome.MET: "answered",
    Outcome.LATE: "late",
    Outcome.SKIPPED: "skipped",
    Outcome.OVERTAKEN: "overtaken",
    Outcome.UNFINISHED: "lost",
}
_SIMULATED = {name: outcome for outcome, name in OUTCOMES.items()}


def simulated(record: FrameRecord) -> FrameLog:
    """Return the log of a simulated frame with a real one's fate."""
    outcome = Outcome.MET if record.in_time else _SIMULATED.get(record.outcome, Outcome.UNFINISHED)
    decision = None if record.point is None else Decision(parse_point(record.point))
    return FrameLog(
        record.position + 1, record.time_s, outcome, decision, record.time_s, record.payload_bytes, record.total_ms
    )


if TYPE_CHECKING:
    _Passing = Policy
else:
    _Passing = object  # methods of Policy would hide those of the other policy


class ObservedPolicy(_Passing):
    """Another policy: does what that one does, and notes how long it took to choose and what it believed then."""

    def __init__(self, policy: Policy) -> None:
        self.believed: dict[int, PolicyState] = {}  # by frame id
        self.decision_s: list[float] = []
        self._policy = policy

    def choose(self, now: float, context: FrameContext) -> Decision:
        """Return what the other policy chooses."""
        begin = time.perf_counter()
        decision = self._policy.choose(now, context)
        self.decision_s.append(time.perf_counter() - begin)
        self.believed[context.frame_id] = self._policy.state(now)
        return decision

    def __getattr__(self, name: str) -> Any:
        return getattr(self._policy, name)


def trace_lines(logs: Iterable[FrameLog], believed: Mapping[int, PolicyState], deadline_ms: float) -> Iterator[str]:
    """Yield a line for every frame."""
    for log in logs:
        yield json.dumps(_record(log, believed.get(log.frame_id, PolicyState()), deadline_ms)) + "\n"


def _record(log: FrameLog, believed: PolicyState, deadline_ms: float) -> dict[str, Any]:
    local = log.outcome is Outcome.MET and log.point == LOCAL
    record = {
        "frame_id": log.frame_id,
        "time_s": round(log.capture_time, 4),
        "position": log.frame_id - 1,
        "deadline_ms": deadline_ms,
        "outcome": "local" if local else OUTCOMES[log.outcome],
        "bytes": log.payload_bytes,
        "total_ms": log.total_ms,
    }
    if log.decision is None:
        return record
    predicted, link = log.decision.predicted, asdict(believed)
    return {
        **record,
        "point": str(log.decision.point),
        "mode": log.decision.point.mode.value,
        "reason": log.decision.reason,
        "predicted": None if predicted is None else asdict(predicted),
        "load_factor": link.pop("load_factor"),
        "link": link,
    }
