"""The costs of this device's operating points."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count

import pytest

from edge_client.adaptation.profile import DeviceProfile
from edge_client.encoding.encoder import EncoderRuntime, load_encoder
from edge_client.encoding.local_detector import load_local
from edge_client.measuring.profiling import (
    LEAST_ROUNDS,
    WARM_UP_ROUNDS,
    Effort,
    measure,
    points_to_measure,
    profile_of,
    profile_table,
    profile_to_json,
)
from splitnet.bundle import load_device
from splitnet.errors import ConfigError
from splitnet.measured_point import MeasuredPoint
from splitnet.operating_point import LOCAL, Codec, Mode, OperatingPoint

TWO = Effort(frames=2, seconds=60.0)
JPEG = MeasuredPoint(Mode.IMAGE, Codec.JPEG, 0, 30, 20.0, 30.0, 9000.0, 9900.0, 1.0, 0.0)
SPLIT = MeasuredPoint(Mode.SPLIT, Codec.RANS, 1, 0, 9.0, 15.0, 700.0, 800.0, 5.0, 35.0)


@pytest.fixture(scope="module")
def encoder(tiny_bundle):
    return load_encoder(tiny_bundle, device="cpu", threads=1)


@pytest.fixture(scope="module")
def local(tiny_bundle, encoder):
    return load_local(tiny_bundle, encoder.manifest, "cpu")


@pytest.fixture(scope="module")
def measured(encoder, local, photo):
    points = [*points_to_measure(encoder.manifest, 1, True), OperatingPoint(Codec.JPEG, 0, 30)]
    return measure(encoder, local, [photo], points, TWO)


def test_all_widths_and_the_bundles_picture_points_are_measured(encoder):
    manifest = replace(encoder.manifest, points=(SPLIT, JPEG, JPEG))
    named = [str(point) for point in points_to_measure(manifest, 2, has_local=True)]
    assert named == ["w1 q2", "w2 q2", "w3 q2", "w4 q2", "jpeg 30", "local"]
    assert LOCAL not in points_to_measure(manifest, 2, has_local=False)


def test_every_point_is_measured_in_all_its_steps(measured):
    assert [str(found.point) for found in measured] == ["w1 q1", "w2 q1", "w3 q1", "w4 q1", "local", "jpeg 30"]
    for found in measured:
        assert 0 < found.encode_ms_p50 <= found.encode_ms_p90
        assert found.letterbox_ms_p50 > 0
        assert (found.network_ms_p50 > 0) == (found.point.mode is not Mode.IMAGE)
        assert (found.kilobytes_mean > 0) == (found.point != LOCAL)
        assert (found.mmacs is not None) == (found.point.mode is Mode.SPLIT)
        assert (found.kilobytes_cap is not None) == (found.point.mode is Mode.SPLIT)
        assert found.kilobytes_mean <= found.kilobytes_p90 <= (found.kilobytes_cap or found.kilobytes_p90)


def test_a_quality_outside_of_the_bundle_is_refused(encoder, photo):
    with pytest.raises(ConfigError):
        measure(encoder, None, [photo], [OperatingPoint(Codec.RANS, 1, 9)], TWO)


def test_measuring_ends_with_its_time_but_not_before_a_few_rounds(tiny_bundle, photo):
    ticks = count()  # every look at the clock takes a second
    encoder = EncoderRuntime(load_device(tiny_bundle), clock=lambda: 0.0)
    shares: list[float] = []
    point = OperatingPoint(Codec.RANS, 1, 0)
    measure(encoder, None, [photo], [point], Effort(1000, 10.0), shares.append, clock=lambda: float(next(ticks)))
    assert shares == pytest.approx([number / 10 for number in range(1, 11)])
    shares.clear()
    measure(encoder, None, [photo], [point], Effort(1000, 0.001), shares.append, clock=lambda: float(next(ticks)))
    assert shares == [1.0] * (WARM_UP_ROUNDS + LEAST_ROUNDS)


def test_a_widths_time_counts_for_all_its_qualities(encoder, measured):
    profile = profile_of(encoder.manifest, "this", measured)
    assert profile.device == "this"
    assert profile.bundle_digest == encoder.manifest.digest
    assert len(profile.encode_ms) == 4 * 3 + 1
    assert profile.encode_ms["w2 q0"] == profile.encode_ms["w2 q2"] == measured[1].encode_ms_p50
    assert profile.encode_ms["jpeg 30"] == measured[5].encode_ms_p50
    assert (profile.local_ms, profile.local_ms_p90) == (measured[4].encode_ms_p50, measured[4].encode_ms_p90)
    assert profile_of(encoder.manifest, "this", measured[:4]).local_ms is None


def test_json_says_what_the_figures_depend_on(encoder, measured):
    profile = profile_of(encoder.manifest, "this", measured)
    written = json.loads(json.dumps(profile_to_json(profile, "tiny-0", (640, 480), measured)))
    assert written["bundle"] == "tiny-0"
    assert written["frame"] == {"width": 640, "height": 480}
    assert written["machine"]["cores"] >= 1
    assert [found["point"] for found in written["points"]][3:5] == ["w4 q1", "local"]
    assert DeviceProfile.from_json(written["profile"]) == profile


def test_the_table_has_a_row_for_each_point(measured):
    table = profile_table(measured).splitlines()
    assert len(table) == 1 + len(measured)
    assert len({len(line) for line in table}) == 1  # the columns line up
