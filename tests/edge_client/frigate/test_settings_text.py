"""What is printed for Frigate's own settings is YAML that says what the endpoint expects."""

from __future__ import annotations

import yaml

from edge_client.frigate.settings_text import frigate_settings
from edge_client.frigate_command import settings_for
from edge_client.frigate_config import FrigateConfig


def test_a_coco_bundle_uses_frigates_own_label_map():
    found = yaml.safe_load(settings_for(FrigateConfig(print_config=True, listen="tcp://0.0.0.0:5555")))
    assert found["detectors"] == {
        "slimsplit": {"type": "zmq", "endpoint": "tcp://ADDRESS-OF-THIS-MACHINE:5555", "request_timeout_ms": 200}
    }
    assert found["model"] == {
        "path": "slimsplit",
        "width": 416,
        "height": 416,
        "input_tensor": "nhwc",
        "input_pixel_format": "rgb",
        "input_dtype": "int",
        "labelmap_path": "/labelmap/coco-80.txt",
    }


def test_other_classes_are_listed():
    text = frigate_settings("ipc:///tmp/x", ["bird's nest", "no"], 320, "bgr", 150)
    assert yaml.safe_load(text)["model"]["labelmap"] == {0: "bird's nest", 1: "no"}
