"""The device's metrics, and the page that serves them."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_client.config import RunConfig
from edge_client.output import metrics_page
from edge_client.output.metrics import RunCollector, exposition, registry_of
from edge_client.output.metrics_page import MetricsPage
from edge_client.output.statistics import RunStatistics
from edge_client.percentiles import LatencyHistogram
from splitnet.errors import ConfigError
from splitnet.operating_point import LOCAL, Codec, OperatingPoint
from tests.support.client_samples import result

SPLIT = OperatingPoint(Codec.RANS, 4, 5)


def figures() -> RunStatistics:
    run = RunStatistics(0.0)
    run.captured = 10
    run.overtaken, run.skipped, run.lost = 2, 1, 1
    run.refused["resource_exhausted"] = 1
    run.add_session("edge:50051")
    run.add_result(1.0, result(1, 80.0, point=SPLIT))
    run.add_result(1.1, result(1, 150.0, point=SPLIT))
    run.add_result(1.2, result(1, 260.0, point=SPLIT, late=True))
    run.add_result(1.3, result(1, 300.0, point=LOCAL, late=True))
    return run


def samples() -> dict[tuple[str, ...], float]:
    text = exposition(registry_of(RunCollector(figures, 200.0, lambda: 61.0))).decode()
    found = (one for family in text_string_to_metric_families(text) for one in family.samples)
    return {(one.name, *one.labels.values()): one.value for one in found}


def test_every_frame_has_one_outcome():
    found = samples()
    outcomes = {name[1]: value for name, value in found.items() if name[0] == "slimsplit_edge_frames_total"}
    expected = {"answered": 2, "local": 0, "late": 2, "skipped": 1, "overtaken": 2, "lost": 1, "refused": 1}
    assert outcomes == expected


def test_latencies_are_counted_around_the_deadline():
    found = samples()
    buckets = {name[1]: value for name, value in found.items() if name[0] == "slimsplit_edge_latency_seconds_bucket"}
    assert (buckets["0.1"], buckets["0.15"], buckets["0.2"], buckets["0.3"], buckets["+Inf"]) == (1, 2, 2, 4, 4)
    assert found[("slimsplit_edge_latency_seconds_sum",)] == pytest.approx(0.79)


def test_the_point_the_link_and_the_board_are_told():
    found = samples()
    assert found[("slimsplit_edge_link_up",)] == 1
    assert found[("slimsplit_edge_temperature_celsius",)] == 61
    assert found[("slimsplit_edge_mode_frames_total", "split")] == 3
    assert ("slimsplit_edge_capacity_bits_per_second",) not in found  # nothing is known


def test_a_histogram_says_how_many_are_up_to_a_bound():
    times = LatencyHistogram()
    for ms in (1.0, 10.0, 100.0):
        times.add(ms)
    assert [times.count_up_to(bound) for bound in (0.5, 1.01, 50.0, 1000.0)] == [0, 1, 2, 3]


def test_the_page_answers_and_ends():
    page = MetricsPage(("127.0.0.1", 0), lambda: b"one 1\n")
    with urllib.request.urlopen(f"http://127.0.0.1:{page.port}/metrics") as answer:
        assert answer.read() == b"one 1\n"
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://127.0.0.1:{page.port}/etc/passwd")
    page.close()


def test_scrapes_that_say_nothing_leave_places_only_until_the_bound():
    page = MetricsPage(("127.0.0.1", 0), lambda: b"one 1\n")
    silent = [socket.create_connection(("127.0.0.1", page.port)) for _ in range(4)]
    with socket.create_connection(("127.0.0.1", page.port)) as one_more:
        one_more.settimeout(10)
        assert one_more.recv(1) == b""  # closed at once
    for one in silent:
        one.close()
    page.close()


def test_a_scrape_that_sends_a_byte_now_and_then_is_ended(monkeypatch):
    monkeypatch.setattr(metrics_page, "LONGEST_S", 0.05)
    page = MetricsPage(("127.0.0.1", 0), lambda: b"one 1\n")
    with socket.create_connection(("127.0.0.1", page.port)) as slow:
        slow.settimeout(10)
        slow.sendall(b"GET /met")
        assert slow.recv(1) == b""
    page.close()


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00\x01\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bytes(300), b"\r\n" * 99]
)
def test_garbage_on_the_page_harms_nobody(garbage):
    page = MetricsPage(("127.0.0.1", 0), lambda: b"one 1\n")
    with socket.create_connection(("127.0.0.1", page.port)) as one:
        one.sendall(garbage)
    with urllib.request.urlopen(f"http://127.0.0.1:{page.port}/metrics") as answer:
        assert answer.read() == b"one 1\n"
    page.close()


def test_a_port_that_is_taken_is_said_so():
    page = MetricsPage(("127.0.0.1", 0), lambda: b"")
    with pytest.raises(ConfigError, match=r"--metrics 127\.0\.0\.1:"):
        MetricsPage(("127.0.0.1", page.port), lambda: b"")
    page.close()


@pytest.mark.parametrize("address", ["9108", ":9108", "host:", "host:70000", "host:x"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ConfigError, match="--metrics takes HOST:PORT"):
        RunConfig(source="0", server="a:1", metrics=address)
