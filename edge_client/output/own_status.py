"""A run as its device tells it to the server, once a second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge_client.adaptation.load import CpuSample
from edge_client.output.journal import Journal
from edge_client.output.statistics import RunStatistics
from edge_client.percentiles import percentile
from splitnet.device_status import DeviceStatus, FrameCounts

UNKNOWN_BUDGET_BYTES = 1024.0  # of decisions and log a second, while nothing is known of the link
BUDGET_SHARE = 0.03  # of what the link can carry
MAX_BUDGET_BYTES = 6144.0
PREVIEW_EVERY = 5  # statuses
PREVIEW_SHARE = 0.05  # of what the link can carry until the next one


@dataclass
class StatusMaker:
    """Makes the statuses of one run."""

    journal: Journal
    software: str
    board: str
    deadline_ms: float
    thermometer: Callable[[], float] = lambda: 0.0  # degrees Celsius, 0 if nothing measures it
    _made: int = 0
    _temperature_c: float = 0.0
    _image: bytes = b""

    def prepare(self) -> None:
        """Do what takes milliseconds: read the thermometer, draw the preview when its turn has come."""
        self._temperature_c = self.thermometer()
        self._made += 1
        if self._made % PREVIEW_EVERY == 0:
            self._image = self.journal.preview()

    def status(self, run: RunStatistics, now: float, cpu: CpuSample | None) -> DeviceStatus:
        """Return how the device is doing. now: seconds on the run's clock. Where the link is slow, little is told."""
        state = run.policy_state
        latencies = run.recent_latency.values(now)
        decisions, lines, left_out = self.journal.take(budget_bytes(state.capacity_bps))
        return DeviceStatus(
            software=self.software,
            board=self.board,
            run_s=run.seconds(now),
            frames=counts_of(run),
            payload_bytes=run.whole.payload_bytes,
            point="" if run.last_point is None else str(run.last_point),
            deadline_ms=self.deadline_ms,
            latency_p50_ms=percentile(latencies, 50),
            latency_p95_ms=percentile(latencies, 95),
            capacity_bps=state.capacity_bps or 0.0,
            capacity_is_bound=state.capacity_is_bound,
            rtt_ms=state.rtt_min_ms or 0.0,
            cpu_share=0.0 if cpu is None else cpu.busy,
            temperature_c=self._temperature_c,
            decisions=decisions,
            log=lines,
            left_out=left_out,
            preview=self._preview(state.capacity_bps),
        )

    def _preview(self, capacity_bps: float | None) -> bytes:
        image, self._image = self._image, b""
        has_room = capacity_bps is not None and len(image) <= PREVIEW_SHARE * PREVIEW_EVERY * capacity_bps / 8
        return image if has_room else b""


def budget_bytes(capacity_bps: float | None) -> float:
    """Return how many bytes a second decisions and log may take of a link."""
    if capacity_bps is None:
        return UNKNOWN_BUDGET_BYTES
    return min(MAX_BUDGET_BYTES, BUDGET_SHARE * capacity_bps / 8)


def counts_of(run: RunStatistics) -> FrameCounts:
    """Return what has become of a run's frames; each is counted once."""
    return FrameCounts(
        captured=run.captured,
        answered=run.answered - (run.late - run.late_local),
        local=run.local - run.late_local,
        late=run.late,
        skipped=run.skipped + run.overtaken,
        lost=run.lost + run.refused.total(),
    )
