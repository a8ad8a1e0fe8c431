"""The profile that a run uses."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest

from edge_client.adaptation.profile import DeviceProfile
from edge_client.measuring import device_profile
from edge_client.measuring.core_share import LEAST_SHARE, CoreShare
from edge_client.measuring.device_profile import find_profile
from edge_client.measuring.profile_cache import cached_profile, keep_profile
from splitnet.errors import ProfileError

DIGEST = "ab" * 32
MEASURED = DeviceProfile("pi-4", DIGEST, {"w1 q0": 5.0}, 90.0, 99.0, "onnxruntime")
ENCODER = SimpleNamespace(manifest=SimpleNamespace(digest=DIGEST, qualities=3))
BY_ONNX_RUNTIME = SimpleNamespace(backend="onnxruntime", name="yolox-nano", digest=None)
BY_TORCH = SimpleNamespace(backend="torch", name="yolox-nano", digest=None)
ANOTHER = SimpleNamespace(backend="onnxruntime", name="yolox-tiny", digest="cd" * 32)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def measurements(monkeypatch):
    """Return what was measured, one entry a time; measuring itself takes no time here."""
    done = []
    monkeypatch.setattr(device_profile, "measure", lambda encoder, local, *rest: done.append(local))
    monkeypatch.setattr(device_profile, "points_to_measure", lambda *arguments: [])
    monkeypatch.setattr(
        device_profile,
        "profile_of",
        lambda manifest, device, measured, local: replace(
            MEASURED, local_backend=local.backend, local_digest=local.digest
        ),
    )
    return done


def find(local, given=None, share=1.0, device="pi-4"):
    """Return the profile that is found where measuring gets such a share of a core."""
    used, passed = iter((0.0, share)), iter((0.0, 1.0))
    core = partial(CoreShare, lambda: next(passed), lambda: next(used))
    return find_profile(ENCODER, local, device, given, lambda share: None, core)


def test_a_device_is_measured_once(measurements):
    assert find(BY_ONNX_RUNTIME) == find(BY_ONNX_RUNTIME) == MEASURED
    assert measurements == [BY_ONNX_RUNTIME]


def test_what_is_measured_on_a_busy_device_is_for_one_run_alone(measurements, caplog):
    assert find(BY_ONNX_RUNTIME, share=LEAST_SHARE - 0.1) == MEASURED
    assert cached_profile("pi-4", DIGEST) is None
    assert "busy with other work while it was measured, which got 70 % of a core" in caplog.text
    assert find(BY_ONNX_RUNTIME, share=LEAST_SHARE) == MEASURED
    assert measurements == [BY_ONNX_RUNTIME] * 2
    assert cached_profile("pi-4", DIGEST) == MEASURED


def test_who_waits_for_a_gpu_is_not_busy_with_other_work(measurements, caplog):
    find(BY_ONNX_RUNTIME, share=0.3, device="x86-cuda-h200")
    assert "busy" not in caplog.text
    assert cached_profile("pi-4", DIGEST) == MEASURED


@pytest.mark.parametrize("kept", [None, "torch"])
def test_a_local_detector_by_another_back_end_is_measured_anew(measurements, kept):
    keep_profile(replace(MEASURED, local_backend=kept))
    assert find(BY_ONNX_RUNTIME) == MEASURED
    assert measurements == [BY_ONNX_RUNTIME]
    assert cached_profile("pi-4", DIGEST) == MEASURED


def test_another_local_detector_of_the_same_bundle_is_measured_anew(measurements):
    keep_profile(MEASURED)
    assert find(ANOTHER) == find(ANOTHER) == replace(MEASURED, local_digest="cd" * 32)
    assert measurements == [ANOTHER]


def test_a_named_profile_of_another_local_detector_is_taken_with_a_warning(measurements, tmp_path, caplog):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(MEASURED.to_json()))
    assert find(ANOTHER, path) == MEASURED
    assert "mine.json is of another local detector than yolox-tiny: measure this device again" in caplog.text


def test_without_a_local_detector_any_kept_profile_does(measurements):
    keep_profile(MEASURED)
    assert find(None) == MEASURED
    assert measurements == []


def test_a_profile_that_is_named_is_taken_as_it_is(measurements, tmp_path, caplog):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(MEASURED.to_json()))
    assert find(BY_ONNX_RUNTIME, path) == MEASURED
    assert caplog.text == ""
    assert find(BY_TORCH, path) == MEASURED
    assert "mine.json is of a local detector by onnxruntime, here torch runs it" in caplog.text
    assert measurements == []


def test_a_profile_of_another_device_is_refused(measurements, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(replace(MEASURED, device="pi-5").to_json()))
    with pytest.raises(ProfileError, match="measured on pi-5, this is pi-4"):
        find(None, path)
