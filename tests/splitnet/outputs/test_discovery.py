"""Home Assistant's discovery messages, as its documentation has them."""

from __future__ import annotations

from splitnet.outputs.discovery import measurements, occupancy
from splitnet.outputs.topics import Topics

TOPICS = Topics("slimsplit", "yard")
DEVICE = {
    "identifiers": ["slimsplit_yard_yard"],
    "name": "yard",
    "manufacturer": "SlimSplit",
    "sw_version": "SlimSplit 1",
}
COMMON = {
    "availability_topic": "slimsplit/yard/availability",
    "device": DEVICE,
    "origin": {"name": "SlimSplit", "sw_version": "SlimSplit 1"},
}


def test_occupancy_of_a_class():
    topic, payload = occupancy(TOPICS, "yard", "", "car", "SlimSplit 1")
    assert topic == "homeassistant/binary_sensor/slimsplit_yard_yard/all_car/config"
    assert payload == {
        **COMMON,
        "name": "car",
        "device_class": "occupancy",
        "state_topic": "slimsplit/yard/count/car",
        "value_template": "{{ 'ON' if value | int(0) > 0 else 'OFF' }}",
        "unique_id": "slimsplit_yard_yard_all_car",
        "object_id": "yard_all_car",
    }


def test_occupancy_of_a_class_in_a_zone():
    topic, payload = occupancy(TOPICS, "yard", "drive", "traffic light", "SlimSplit 1", "ha")
    assert topic.startswith("ha/binary_sensor/slimsplit_yard_yard/zone_drive_traffic_light_")
    assert (payload["name"], payload["state_topic"]) == (
        "drive traffic light",
        "slimsplit/yard/zone/drive/count/traffic%20light",
    )


def test_measurements():
    (fps_topic, fps), (link_topic, link) = measurements(TOPICS, "yard", "SlimSplit 1")
    assert fps_topic == "homeassistant/sensor/slimsplit_yard_yard/fps/config"
    assert link_topic == "homeassistant/sensor/slimsplit_yard_yard/link_quality/config"
    assert fps == {
        **COMMON,
        "name": "frames a second",
        "state_topic": "slimsplit/yard/status",
        "value_template": "{{ value_json.fps }}",
        "unit_of_measurement": "fps",
        "state_class": "measurement",
        "entity_category": "diagnostic",
        "expire_after": 120,
        "unique_id": "slimsplit_yard_yard_fps",
        "object_id": "yard_fps",
    }
    assert link["unit_of_measurement"] == "%"


def test_a_camera_with_a_wildcard_in_its_name_has_plain_topics():
    topic, payload = occupancy(Topics("slimsplit", "a/#"), "a/#", "", "car", "SlimSplit 1")
    assert "#" not in topic + payload["state_topic"] + payload["availability_topic"]
