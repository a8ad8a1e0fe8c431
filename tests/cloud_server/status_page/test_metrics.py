"""The metrics as Prometheus reads them."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from cloud_server.fleet.fleet import Fleet
from cloud_server.status_page import metrics as metrics_module
from cloud_server.status_page.metrics import exposition, metrics_of
from splitnet.messages import FrameError
from tests.support.status_pages import HOSTILE, add_device, facts_of


def values_of(labels: dict[str, str]) -> tuple[str, ...]:
    return tuple(value for _, value in sorted(labels.items()))


def samples(fleet: Fleet) -> dict[tuple[str, tuple[str, ...]], float]:
    text = exposition(metrics_of(facts_of(fleet))).decode()
    families = text_string_to_metric_families(text)
    return {(one.name, values_of(one.labels)): one.value for family in families for one in family.samples}


def test_frames_times_and_devices_are_told_by_their_labels():
    fleet = Fleet()
    add_device(fleet, 10.0)
    found = samples(fleet)
    assert found["slimsplit_frames_total", ("coco-nano", "split")] == 1
    assert found["slimsplit_payload_bytes_total", ("coco-nano",)] == 7
    assert found["slimsplit_stage_seconds_bucket", ("coco-nano", "0.03", "infer")] == 0
    assert found["slimsplit_stage_seconds_bucket", ("coco-nano", "0.05", "infer")] == 1
    assert found["slimsplit_deadline_share_sum", ("coco-nano",)] == 0.5
    assert found["slimsplit_queue_frames", ()] == 3
    assert found["slimsplit_batch_frames_count", ()] == 7
    assert found["slimsplit_batch_frames_sum", ()] == 13
    assert found["slimsplit_device_frames_total", ("camera-1", fleet.devices[0].id)] == 1
    assert found["slimsplit_bundle_memory_bytes", ("coco-nano", "abababababab")] == 6.5e6
    assert found["slimsplit_devices", ("connected",)] == 1
    assert found["slimsplit_certificate_days", ()] == 12
    assert found["slimsplit_guesses_total", ()] == 4
    assert ("process_resident_memory_bytes", ()) in found


def test_refusals_have_their_reason():
    import grpc

    fleet = Fleet()
    watch = add_device(fleet, 10.0)
    watch.answer(10.0, FrameError(2, 1, grpc.StatusCode.RESOURCE_EXHAUSTED, "busy"))
    fleet.refused(10.0, "ipv4:192.0.2.7", "FAILED_PRECONDITION", "another bundle")
    found = samples(fleet)
    assert found["slimsplit_errors_total", ("coco-nano", "busy")] == 1
    assert found["slimsplit_sessions_refused_total", ("bundle",)] == 1


def test_devices_beyond_the_bound_share_a_label(monkeypatch):
    monkeypatch.setattr(metrics_module, "MAX_LABELLED", 2)
    fleet = Fleet()
    for number in range(5):
        add_device(fleet, 10.0, f"camera-{number}")
    found = {
        labels: value for (name, labels), value in samples(fleet).items() if name == "slimsplit_device_frames_total"
    }
    assert len(found) == 3 and found["other", "other"] == 3


def test_a_hostile_name_is_one_label_of_one_line():
    fleet = Fleet()
    add_device(fleet, 10.0, HOSTILE)
    labels = [labels for name, labels in samples(fleet) if name == "slimsplit_device_frames_total"]
    assert labels == [('<img src=x onerror="document.title=1">\\x1b[2J"} 1 slimsplit_evil 1', fleet.devices[0].id)]
