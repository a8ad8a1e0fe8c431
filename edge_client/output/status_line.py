"""One line about what happens now, for a terminal of 80 columns: what matters most comes first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from edge_client.output.statistics import RunStatistics
from edge_client.percentiles import percentile

COLUMNS = 79  # a terminal of 80 breaks the line at its last one
SEPARATOR = " | "


def status_line(run: RunStatistics, now: float) -> str:
    """Return the line: about the last few seconds, but of drops and late frames about the whole run."""
    return fitting([*_outage(run, now), *_speed(run, now), *_group(run), *_losses(run), *_work(run, now)])


def fitting(parts: Iterable[str], columns: int = COLUMNS) -> str:
    """Return as many of the parts as fit into a line, the first ones first."""
    line = ""
    for part in parts:
        longer = f"{line}{SEPARATOR}{part}" if line else part
        if len(longer) > columns:
            break
        line = longer
    return line


def _outage(run: RunStatistics, now: float) -> list[str]:
    return [] if run.no_link_since is None else [f"NO LINK {now - run.no_link_since:.0f} s"]


def _speed(run: RunStatistics, now: float) -> list[str]:
    if not run.recent_latency.values(now):
        return ["no detections now", f"{run.detected} so far"]
    return [f"{run.recent_latency.rate_per_s(now):.1f} fps"]


def _group(run: RunStatistics) -> list[str]:
    """Return which parts of the group the latest answer had: "parts 12-4" lacks the third."""
    if run.place is None or run.last_parts is None:
        return []
    if run.place.parts > 9:
        return [f"parts {len(run.last_parts)} of {run.place.parts}"]
    return ["parts " + "".join(str(i) if i in run.last_parts else "-" for i in range(1, run.place.parts + 1))]


def _losses(run: RunStatistics) -> list[str]:
    """Return how many frames will never have detections, and how many had them too late."""
    return [f"dropped {_dropped(run)}", *([f"late {run.late}"] if run.late else [])]


def _dropped(run: RunStatistics) -> int:
    return run.overtaken + run.skipped + run.lost + run.refused.total()


def _work(run: RunStatistics, now: float) -> list[str]:
    latencies, sizes = run.recent_latency.values(now), run.recent_bytes.values(now)
    if not latencies or run.last_point is None:
        return []
    kilobytes = f" {sum(sizes) / len(sizes) / 1000:.1f} KB" if run.last_point.is_sent else ""
    times = f"{percentile(latencies, 50):.0f}-{percentile(latencies, 95):.0f} ms"  # the median and the 95th percentile
    return [f"{run.last_point}{kilobytes}", times, *_beliefs(run)]


def _beliefs(run: RunStatistics) -> list[str]:
    state = run.policy_state
    least = ">= " if state.capacity_is_bound else ""
    parts = [] if state.capacity_bps is None else [f"{least}{state.capacity_bps / 1e6:.2f} Mbps"]
    parts += [f"at {run.server}"] if run.moves else []
    return parts if state.load_factor is None else [*parts, f"load x{state.load_factor:.1f}"]


def status_line_of_all(runs: Mapping[str, RunStatistics], now: float) -> str:
    """Return the line of several cameras: what is wrong anywhere, the sums, and then the rate of each."""
    if len(runs) == 1:
        return status_line(next(iter(runs.values())), now)
    return fitting([*_outages(runs, now), *_sums(runs.values(), now), *_rates(runs, now)])


def _outages(runs: Mapping[str, RunStatistics], now: float) -> list[str]:
    without = [name for name, run in runs.items() if run.no_link_since is not None]
    if len(without) == len(runs):
        return _outage(next(iter(runs.values())), now)
    return [f"NO LINK {' '.join(without)}"] if without else []


def _sums(runs: Collection[RunStatistics], now: float) -> list[str]:
    rate = sum(run.recent_latency.rate_per_s(now) for run in runs)
    dropped, late = sum(map(_dropped, runs)), sum(run.late for run in runs)
    return [f"{len(runs)} cameras {rate:.1f} fps", f"dropped {dropped}", *([f"late {late}"] if late else [])]


def _rates(runs: Mapping[str, RunStatistics], now: float) -> list[str]:
    return [
        f"{name} {run.recent_latency.rate_per_s(now):.1f}{'' if run.last_point is None else f' {run.last_point}'}"
        for name, run in runs.items()
    ]
