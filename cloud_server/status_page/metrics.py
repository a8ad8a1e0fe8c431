"""The server's metrics for Prometheus. Names and labels are promises: `deploy/` builds on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from cloud_server.fleet.device import Device
from cloud_server.fleet.histogram import Histogram
from cloud_server.fleet.tally import OTHER, Tally
from cloud_server.status_page.facts import Replica, ServerFacts
from splitnet.text import printable

PREFIX = "slimsplit_"
MAX_LABELLED = 200  # devices with a label of their own; the rest are one more


def metrics_of(facts: ServerFacts) -> CollectorRegistry:
    """Return a registry that looks at the server when it is asked."""
    registry = CollectorRegistry()
    registry.register(ServerCollector(facts))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """Return the text that Prometheus scrapes."""
    return generate_latest(registry)


class ServerCollector(Collector):
    """Makes the metrics of a server at each scrape; between them they cost nothing."""

    def __init__(self, facts: ServerFacts) -> None:
        """Take the server."""
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        facts, tally = self._facts, self._facts.fleet.tally
        yield from _counts(tally)
        yield from _histograms(tally)
        yield _batches(facts.batch_sizes())
        yield _gauge("queue_frames", "Frames that wait to be computed", [((), facts.queue_depth())])
        yield from _sessions(facts)
        yield from _devices(facts.fleet.devices)
        yield _gauge("build_info", "The software, 1", [((facts.software,), 1)], ("software",))
        for own in facts.gauges():
            make = _counter if own.is_counter else _gauge
            yield make(own.name, own.help, [((), own.value)])
        yield from _replicas(facts.replicas() or ())


def _replicas(replicas: Sequence[Replica]) -> Iterator[Metric]:
    labels = ("replica", "node")
    batches = [((one.id, one.node), float(one.batches)) for one in replicas]
    memory = [((one.id, one.node), one.memory_mb * 1e6) for one in replicas]
    yield _counter("replica_batches", "Batches that a replica of the cluster has computed", batches, labels)
    yield _gauge("replica_memory_bytes", "Resident memory of a replica of the cluster", memory, labels)


Rows = Sequence[tuple[tuple[str, ...], float]]


def _counter(name: str, text: str, rows: Rows, labels: Sequence[str] = ()) -> CounterMetricFamily:
    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for values, count in rows:
        family.add_metric(values, count)
    return family


def _gauge(name: str, text: str, rows: Rows, labels: Sequence[str] = ()) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family


def _by_bundle(counts: Mapping[str, float]) -> Rows:
    return [((printable(bundle),), count) for bundle, count in counts.items()]


def _counts(tally: Tally) -> Iterator[Metric]:
    own = ("bundle",)
    frames = [((printable(bundle), mode), count) for (bundle, mode), count in tally.frames.items()]
    errors = [((printable(bundle), reason), count) for (bundle, reason), count in tally.errors.items()]
    yield _counter("frames", "Frames that have arrived", frames, ("bundle", "mode"))
    yield _counter("answers", "Frames answered by detections", _by_bundle(tally.answers), own)
    yield _counter("errors", "Frames answered by an error, by reason", errors, ("bundle", "reason"))
    yield _counter("payload_bytes", "Bytes of payloads that have arrived", _by_bundle(tally.bytes), own)
    yield _counter("sessions_opened", "Sessions that were opened", _by_bundle(tally.sessions), own)
    refusals = [((reason,), count) for reason, count in tally.refusals.items()]
    yield _counter("sessions_refused", "Sessions that were not opened, by reason", refusals, ("reason",))
    yield _counter("statuses", "Statuses of devices that were taken", [((), tally.statuses)])
    yield _counter("statuses_dropped", "Statuses that came too soon or were none", [((), tally.bad_statuses)])


def _histograms(tally: Tally) -> Iterator[Metric]:
    labels = ("bundle", "stage")
    stages = HistogramMetricFamily(f"{PREFIX}stage_seconds", "Time of an answered frame, by stage", labels=labels)
    for (bundle, stage), histogram in tally.stages.items():
        stages.add_metric((printable(bundle), stage), histogram.cumulative(), histogram.sum)
    yield stages
    text = "Time on the server as a share of what the device allowed it"
    shares = HistogramMetricFamily(f"{PREFIX}deadline_share", text, labels=("bundle",))
    for bundle, histogram in tally.deadline_shares.items():
        shares.add_metric((printable(bundle),), histogram.cumulative(), histogram.sum)
    yield shares


def _batches(sizes: Mapping[int, int]) -> Metric:
    family = HistogramMetricFamily(f"{PREFIX}batch_frames", "Frames of a batch")
    histogram = Histogram((1, 2, 4, 8, 16, 32, 64))
    for size, count in sizes.items():
        histogram.add(size, count)
    family.add_metric((), histogram.cumulative(), histogram.sum)
    return family


def _sessions(facts: ServerFacts) -> Iterator[Metric]:
    yield _gauge("sessions", "Open sessions", _by_bundle(facts.fleet.open_sessions), ("bundle",))
    bundles = facts.bundles()
    named = [((printable(one.name), one.digest[:12]), one.memory_mb * 1e6) for one in bundles]
    yield _gauge("bundle_memory_bytes", "Memory of a bundle's weights", named, ("bundle", "digest"))
    draining = [((), float(facts.fleet.is_draining))]
    yield _gauge("draining", "1 while the server shuts down", draining)


def _devices(devices: Sequence[Device]) -> Iterator[Metric]:
    """Yield what each device sends; beyond MAX_LABELLED they share a label, so that names cannot fill a database."""
    frames: dict[tuple[str, ...], float] = {}
    sent: dict[tuple[str, ...], float] = {}
    answers: dict[tuple[str, ...], float] = {}
    for number, device in enumerate(devices):
        key = (printable(device.name), device.id) if number < MAX_LABELLED else (OTHER, OTHER)
        frames[key] = frames.get(key, 0) + device.seen.captured
        sent[key] = sent.get(key, 0) + device.seen_bytes
        answers[key] = answers.get(key, 0) + device.seen.answered
    labels = ("device", "id")
    yield _counter("device_frames", "Frames that have arrived from a device", [*frames.items()], labels)
    yield _counter("device_answers", "Frames of a device answered by detections", [*answers.items()], labels)
    yield _counter("device_payload_bytes", "Bytes of payloads from a device", [*sent.items()], labels)
    connected = sum(bool(device.sessions) for device in devices)
    rows = [(("connected",), connected), (("gone",), len(devices) - connected)]
    yield _gauge("devices", "Devices that are known, by whether they are connected", rows, ("state",))
