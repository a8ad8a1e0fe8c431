"""A run's metrics for Prometheus. Names and labels are promises: `deploy/` builds on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from edge_client.output.own_status import counts_of
from edge_client.output.statistics import RunStatistics
from edge_client.percentiles import LatencyHistogram

PREFIX = "slimsplit_edge_"
USUAL_DEADLINE_MS = 200.0  # where there is none, for the bounds
BOUNDS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)  # of latencies, as shares of the deadline
ENCODE_BOUNDS_MS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)


class RunCollector(Collector):
    """Looks at a run when it is asked; between scrapes the metrics cost nothing."""

    def __init__(
        self, run: Callable[[], RunStatistics], deadline_ms: float, temperature: Callable[[], float] = lambda: 0.0
    ) -> None:
        """Take what returns the figures of the run, its deadline (0: none), and a thermometer (0: it does not know)."""
        self._run = run
        self._deadline_ms = deadline_ms
        self._temperature = temperature

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        run = self._run()
        yield from _counts(run)
        unit_ms = self._deadline_ms or USUAL_DEADLINE_MS
        bounds = [share * unit_ms for share in BOUNDS]
        yield _histogram("latency_seconds", "From capture to detections", run.whole.end_to_end, bounds)
        yield _histogram("encode_seconds", "From image to payload or detections", run.whole.encode, ENCODE_BOUNDS_MS)
        yield from _gauges(run, self._deadline_ms, self._temperature())


class CamerasCollector(Collector):
    """The metrics of several cameras: each with the label `camera`."""

    def __init__(self, collectors: Mapping[str, RunCollector]) -> None:
        """Take a collector for each camera, by its name."""
        self._collectors = collectors

    def collect(self) -> Iterator[Metric]:
        """Yield every metric once, with the samples of all cameras."""
        families: dict[str, Metric] = {}
        for camera, collector in self._collectors.items():
            for metric in collector.collect():
                family = families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                labelled = (one._replace(labels={"camera": camera, **one.labels}) for one in metric.samples)
                family.samples.extend(labelled)
        yield from families.values()


def _counts(run: RunStatistics) -> Iterator[Metric]:
    outcomes = CounterMetricFamily(f"{PREFIX}frames", "Frames of the camera, by their fate", labels=["outcome"])
    counts = counts_of(run)
    refused = run.refused.total()
    parts = {"answered": counts.answered, "local": counts.local, "late": counts.late, "skipped": run.skipped}
    for outcome, count in {**parts, "overtaken": run.overtaken, "lost": run.lost, "refused": refused}.items():
        outcomes.add_metric([outcome], count)
    yield outcomes
    yield CounterMetricFamily(f"{PREFIX}captured_frames", "Frames of the camera", run.captured)
    modes = CounterMetricFamily(f"{PREFIX}mode_frames", "Frames with detections, by mode", labels=["mode"])
    for mode, count in run.modes().items():
        modes.add_metric([mode], count)
    yield modes
    yield CounterMetricFamily(f"{PREFIX}payload_bytes", "Bytes of answered frames", run.whole.payload_bytes)
    yield CounterMetricFamily(f"{PREFIX}sessions", "Sessions that were opened", run.sessions)
    yield CounterMetricFamily(f"{PREFIX}point_switches", "Changes of the operating point", run.switches)


def _gauges(run: RunStatistics, deadline_ms: float, temperature_c: float) -> Iterator[Metric]:
    state, point = run.policy_state, run.last_point
    yield _gauge("link_up", "1 while a session is open", float(run.sessions > 0 and run.no_link_since is None))
    yield _gauge("deadline_seconds", "What frames may take, 0 for no limit", deadline_ms / 1000)
    known = {
        "width": ("Width of the latest frame with detections", None if point is None else point.width),
        "quality": ("Quality of the latest frame with detections", None if point is None else point.quality),
        "capacity_bits_per_second": ("What the uplink is thought to carry", state.capacity_bps),
        "round_trip_seconds": ("Smallest round trip", None if state.rtt_min_ms is None else state.rtt_min_ms / 1000),
        "load_factor": ("Encode times over those of the profile", state.load_factor),
        "temperature_celsius": ("The hottest part of the board", temperature_c or None),
    }
    for name, (text, value) in known.items():
        if value is not None:
            yield _gauge(name, text, value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value)


def _histogram(name: str, text: str, times: LatencyHistogram, bounds_ms: Sequence[float]) -> Metric:
    family = HistogramMetricFamily(PREFIX + name, text)
    rising = [(repr(round(bound / 1000, 6)), times.count_up_to(bound)) for bound in bounds_ms]
    family.add_metric([], [*rising, ("+Inf", times.count)], times.sum_ms / 1000)
    return family


def registry_of(collector: Collector) -> CollectorRegistry:
    """Return a registry with a run's metrics and this process's own."""
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """Return the text that Prometheus scrapes."""
    return generate_latest(registry)
