"""Home Assistant's MQTT discovery: the entities of a camera, as the messages that announce them. Pure.

https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from splitnet.outputs.topics import Topics, id_of

BIRTH_TOPIC = "homeassistant/status"  # says "online" when Home Assistant has started
PREFIX = "homeassistant"
EXPIRES_S = 120  # a status that is older says nothing


def occupancy(
    topics: Topics, camera: str, zone: str, label: str, software: str, prefix: str = PREFIX
) -> tuple[str, dict[str, Any]]:
    """Return topic and payload that announce whether there is an object of a class, in a zone or ("") anywhere."""
    entity = {
        "name": " ".join(part for part in (zone, label) if part),
        "device_class": "occupancy",
        "state_topic": topics.count(camera, zone, label),
        "value_template": "{{ 'ON' if value | int(0) > 0 else 'OFF' }}",
    }
    kind = id_of("zone", zone, label) if zone else id_of("all", label)
    return _announced(topics, camera, "binary_sensor", kind, entity, software, prefix)


def measurements(topics: Topics, camera: str, software: str, prefix: str = PREFIX) -> list[tuple[str, dict[str, Any]]]:
    """Return topics and payloads that announce frames a second and the quality of the link."""
    common = {
        "state_topic": topics.status(camera),
        "state_class": "measurement",
        "entity_category": "diagnostic",
        "expire_after": EXPIRES_S,
    }
    fps = {"name": "frames a second", "value_template": "{{ value_json.fps }}", "unit_of_measurement": "fps"}
    link = {"name": "link quality", "value_template": "{{ value_json.link_quality }}", "unit_of_measurement": "%"}
    return [
        _announced(topics, camera, "sensor", kind, {**entity, **common}, software, prefix)
        for kind, entity in (("fps", fps), ("link_quality", link))
    ]


def _announced(
    topics: Topics,
    camera: str,
    component: str,
    kind: str,
    entity: Mapping[str, Any],
    software: str,
    prefix: str,
) -> tuple[str, dict[str, Any]]:
    device = id_of("slimsplit", topics.node, camera)
    payload = {
        **entity,
        "unique_id": f"{device}_{kind}",
        "object_id": f"{id_of(camera)}_{kind}",
        "availability_topic": topics.availability,
        "device": {
            "identifiers": [device],
            "name": camera,
            "manufacturer": "SlimSplit",
            "sw_version": software,
        },
        "origin": {"name": "SlimSplit", "sw_version": software},
    }
    return f"{prefix}/{component}/{device}/{kind}/config", payload
