"""All devices of a server: bounded, counted, and told apart by name and address."""

from __future__ import annotations

import grpc
import pytest

from cloud_server.fleet import fleet as fleet_module
from cloud_server.fleet.findings import findings
from cloud_server.fleet.fleet import Fleet, SessionWatch, reason_of
from cloud_server.fleet.histogram import Histogram
from cloud_server.fleet.rows import row_of
from splitnet.detections import Detections
from splitnet.device_status import DeviceStatus, FrameCounts
from splitnet.messages import FrameDetections, FrameError, ServerTiming
from tests.support.fake_model import frame

HOST = "ipv4:192.0.2.7"
ANSWER = FrameDetections(1, 1, Detections.empty(), ServerTiming(10.0, 5.0, 35.0))


def opened(fleet: Fleet, name: str = "camera-1", now: float = 0.0, session: str = "s1") -> SessionWatch:
    return fleet.opened(now, name, HOST, session, "coco-nano", "ab" * 32)


def test_a_device_that_comes_again_is_the_same_and_one_from_elsewhere_is_not():
    fleet = Fleet()
    opened(fleet).closed(1.0)
    opened(fleet, session="s2")
    fleet.opened(0.0, "camera-1", "ipv4:192.0.2.8", "s3", "coco-nano", "ab" * 32)
    assert [(one.name, one.sessions) for one in fleet.devices] == [("camera-1", {"s2"}), ("camera-1", {"s3"})]
    assert fleet.open_sessions == {"coco-nano": 2}
    first, second = fleet.devices
    assert first.id != second.id and fleet.find(second.id) is second and fleet.find("none") is None


def test_frames_and_answers_are_counted_by_bundle_and_reason():
    fleet = Fleet()
    watch = opened(fleet)
    watch.frame(1.0, frame(1, b"seven b"))
    watch.answer(1.1, ANSWER, deadline_ms=100)
    watch.answer(1.2, FrameError(2, 1, grpc.StatusCode.RESOURCE_EXHAUSTED, "busy"))
    tally = fleet.tally
    assert (tally.frames, tally.bytes) == ({("coco-nano", "split"): 1}, {"coco-nano": 7})
    assert (tally.answers, tally.errors) == ({"coco-nano": 1}, {("coco-nano", "busy"): 1})
    assert tally.stages["coco-nano", "total"].sum == 0.05
    assert dict(tally.deadline_shares["coco-nano"].cumulative())["0.5"] == 1


def test_a_histogram_counts_from_below():
    histogram = Histogram((1, 2))
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram.add(value)
    assert histogram.cumulative() == [("1.0", 2), ("2.0", 3), ("+Inf", 4)]
    assert (histogram.count, histogram.sum) == (4, 12.0)


def test_of_too_many_devices_the_one_that_left_first_is_forgotten(monkeypatch):
    monkeypatch.setattr(fleet_module, "MAX_DEVICES", 3)
    fleet = Fleet()
    watches = [opened(fleet, f"camera-{number}") for number in range(3)]
    watches[1].closed(5.0)
    watches[0].closed(6.0)
    opened(fleet, "camera-3")
    assert [one.name for one in fleet.devices] == ["camera-0", "camera-2", "camera-3"]


def test_a_status_that_comes_too_soon_is_dropped():
    watch = opened(Fleet())
    assert [watch.may_report(now) for now in (0.0, 0.4, 0.6, 1.2)] == [True, False, True, True]


@pytest.mark.parametrize("code", [one for one in grpc.StatusCode if reason_of(one.name) != "other"])
def test_reasons_are_single_words(code):
    assert reason_of(code.name).isalpha()


def said(fleet: Fleet, now: float = 10.0) -> list[tuple[str, str]]:
    rows = [row_of(one, now) for one in fleet.devices]
    return [(one.severity, one.what) for one in findings(fleet, rows, now, "edge:50051")]


def report(watch: SessionWatch, counts: FrameCounts, **fields: float) -> None:
    watch.reported(8.0, DeviceStatus(run_s=8.0, point="w4 q5"))
    watch.reported(10.0, DeviceStatus(run_s=10.0, point="w4 q5", frames=counts, **fields))


def test_a_server_without_devices_says_how_to_begin():
    assert said(Fleet()) == [("info", "No device has connected yet.")]


def test_all_is_well_when_every_device_is_in_time():
    fleet = Fleet()
    report(opened(fleet), FrameCounts(20, 20))
    assert said(fleet) == []


@pytest.mark.parametrize(
    ("counts", "fields", "expected"),
    [
        (FrameCounts(20, 10, 0, 10), {}, [("warning", "camera-1 misses deadlines.")]),
        (FrameCounts(20, 20), {"temperature_c": 84.0}, [("warning", "camera-1 is at 84 °C.")]),
        (FrameCounts(40, 38, 0, 0, 0, 2), {}, [("warning", "5% of the frames are refused or lost.")]),
    ],
)
def test_what_is_wrong_with_a_device_is_said(counts, fields, expected):
    fleet = Fleet()
    report(opened(fleet), counts, **fields)
    assert said(fleet) == expected


def test_devices_that_are_gone_silent_or_refused_are_named_the_worst_first():
    fleet = Fleet()
    for number in range(5):
        opened(fleet, f"camera-{number}", session=str(number)).closed(1.0)
    opened(fleet, "camera-9")
    fleet.refused(9.0, HOST, "FAILED_PRECONDITION", "the device has another bundle")
    fleet.is_draining = True
    assert said(fleet, 20.0) == [
        ("error", f"A device at {HOST} was refused once in five minutes."),
        ("error", "camera-0, camera-1, camera-2 and 2 more are gone."),
        ("warning", "This server is shutting down."),
        ("warning", "camera-9 is connected, but no frames come."),
    ]
    assert "refused" not in str(said(fleet, 400.0))
