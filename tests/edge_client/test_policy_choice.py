"""The policy that settings ask for."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from edge_client.adaptation.adaptive_policy import AdaptivePolicy
from edge_client.adaptation.policy import FixedPolicy, SchedulePolicy
from edge_client.adaptation.profile import DeviceProfile
from edge_client.config import RunConfig
from edge_client.policy_choice import adapts, make_policy, mode_tables, needs_local
from splitnet.errors import ConfigError
from splitnet.manifest import Accuracy, load_manifest
from splitnet.measured_point import MeasuredPoint
from splitnet.operating_point import LOCAL, Codec, Mode, OperatingPoint

SPLIT = MeasuredPoint(Mode.SPLIT, Codec.RANS, 4, 2, 24.0, 40.0, 2000.0, 2500.0, 10.0, 141.0)
JPEG = MeasuredPoint(Mode.IMAGE, Codec.JPEG, 0, 30, 26.0, 41.0, 12_000.0, 16_000.0, 1.0, 0.0)
SPLIT_POINT = OperatingPoint(Codec.RANS, 4, 2)
PROFILE = DeviceProfile("pi-4", "ab" * 32, {"w4 q2": 100.0, "jpeg 30": 12.0}, 250.0, 300.0)


@pytest.fixture(scope="module")
def manifest(tiny_bundle):
    return load_manifest(tiny_bundle).with_measurements(Accuracy(28.7, 43.4), (SPLIT, JPEG))


@pytest.fixture(scope="module")
def unmeasured(manifest):
    return manifest.with_measurements(None, ())


def config(**given) -> RunConfig:
    return RunConfig(**{"server": "h:1", "source": "0", **given})


def policy_of(manifest, profile=None, local=None, **given):
    settings = config(**given)
    encoder = SimpleNamespace(manifest=manifest, check=lambda point: None, has_layers=lambda point: False)
    return make_policy(settings, adapts(settings, manifest), encoder, local, profile)


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        ({}, None),
        ({"deadline_ms": 200.0}, "auto"),
        ({"deadline_ms": 200.0, "mode": "auto"}, "auto"),
        ({"deadline_ms": 200.0, "mode": "split"}, "split"),
        ({"deadline_ms": 200.0, "mode": "image"}, "image"),
        ({"deadline_ms": 200.0, "mode": "local"}, None),
        ({"mode": "split"}, None),
        ({"deadline_ms": 200.0, "width": 2}, None),
        ({"deadline_ms": 200.0, "quality": 0}, None),
        ({"deadline_ms": 200.0, "codec": "zstd"}, None),
        ({"deadline_ms": 200.0, "mode": "image", "quality": 30}, None),
        ({"deadline_ms": 200.0, "schedule": (LOCAL,)}, None),
    ],
)
def test_a_deadline_lets_it_adapt_unless_the_point_is_fixed(manifest, given, choice):
    assert adapts(config(**given), manifest) == choice


def test_a_bundle_without_measured_points_cannot_adapt(unmeasured):
    assert adapts(config(deadline_ms=200.0), unmeasured) is None
    with pytest.raises(ConfigError, match="no measured points"):
        adapts(config(deadline_ms=200.0, mode="auto"), unmeasured)


@pytest.mark.parametrize("limit", [{"min_fps": 10.0}, {"max_kbps": 500.0}])
def test_limits_need_something_to_limit(manifest, limit):
    assert adapts(config(deadline_ms=200.0, **limit), manifest) == "auto"
    with pytest.raises(ConfigError, match="--deadline-ms as well"):
        adapts(config(**limit), manifest)


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        ({"deadline_ms": 200.0}, True),
        ({"mode": "local"}, True),
        ({"schedule": (LOCAL,)}, True),
        ({}, False),
        ({"deadline_ms": 200.0, "mode": "split"}, False),
    ],
)
def test_the_detector_is_loaded_only_where_it_may_be_chosen(manifest, given, needed):
    assert needs_local(config(**given), adapts(config(**given), manifest)) is needed


def test_the_policies_fit_the_settings(manifest):
    assert policy_of(manifest) == FixedPolicy(OperatingPoint(Codec.RANS, 4, 1))
    assert isinstance(policy_of(manifest, schedule=(SPLIT_POINT, LOCAL), local=object()), SchedulePolicy)
    assert policy_of(manifest, mode="local", local=object()) == FixedPolicy(LOCAL)
    adaptive = policy_of(manifest, PROFILE, deadline_ms=200.0, local=object())
    assert isinstance(adaptive, AdaptivePolicy)
    assert adaptive.works_offline
    assert not policy_of(manifest, PROFILE, deadline_ms=200.0).works_offline


@pytest.mark.parametrize("given", [{"mode": "local"}, {"schedule": (SPLIT_POINT, LOCAL)}])
def test_without_its_weights_or_its_memory_the_detector_cannot_be_had(manifest, tiny_bundle, tmp_path, given):
    with pytest.raises(ConfigError, match=r"copy detector\.safetensors"):
        policy_of(manifest, bundle=tmp_path, **given)
    with pytest.raises(ConfigError, match="there is no memory to detect on the device"):
        policy_of(manifest, bundle=tiny_bundle, **given)


def test_each_mode_has_a_table_if_there_is_something_in_it(manifest):
    tables = mode_tables(manifest, PROFILE)
    assert {mode: [str(row.point) for row in table.rows] for mode, table in tables.items()} == {
        Mode.SPLIT: ["w4 q2"],
        Mode.IMAGE: ["jpeg 30"],
        Mode.LOCAL: [],
    }
    assert mode_tables(manifest, replace(PROFILE, local_ms=None)).keys() == {Mode.SPLIT, Mode.IMAGE}
