"""Encode times of this device."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_client.encoder_runtime import load_encoder
from edge_client.profiling import drawn_images, profile_table, profile_to_json, profile_widths
from splitnet.errors import ConfigError


@pytest.fixture(scope="module")
def encoder(tiny_bundle):
    return load_encoder(tiny_bundle, device="cpu", threads=1)


def test_every_width_is_measured_in_all_its_steps(encoder, photo):
    widths = profile_widths(encoder, [photo], quality=1, frames=5)
    assert [found.width for found in widths] == [1, 2, 3, 4]
    for found in widths:
        assert 0 < found.encode_ms_p50 <= found.encode_ms_p90
        assert min(found.letterbox_ms_p50, found.network_ms_p50, found.entropy_ms_p50) > 0
        assert found.mmacs > 0
        assert found.kilobytes_mean > 0


def test_a_quality_outside_of_the_bundle_is_refused(encoder, photo):
    with pytest.raises(ConfigError):
        profile_widths(encoder, [photo], quality=9, frames=1)


def test_json_says_what_the_figures_depend_on(encoder, photo):
    widths = profile_widths(encoder, [photo], quality=1, frames=2)
    profile = json.loads(json.dumps(profile_to_json(encoder, [photo], 1, 1, widths)))
    assert profile["bundle"] == {"name": "tiny-0", "digest": encoder.manifest.digest}
    assert profile["frame"] == {"width": 640, "height": 480}
    assert profile["machine"]["cores"] >= 1
    assert profile["threads"] == 1
    assert [found["width"] for found in profile["widths"]] == [1, 2, 3, 4]


def test_the_table_has_a_row_for_each_width(encoder, photo):
    table = profile_table(profile_widths(encoder, [photo], quality=0, frames=1)).splitlines()
    assert len(table) == 5
    assert len({len(line) for line in table}) == 1  # the columns line up


def test_drawn_pictures_are_camera_sized_and_differ():
    first, second = drawn_images(2)
    assert first.shape == (720, 1280, 3)
    assert first.dtype == np.uint8
    assert (first != second).any()
    assert (first == drawn_images(1)[0]).all()  # the same in every run
