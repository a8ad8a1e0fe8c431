"""A device's profile as a record: what it refuses, and its JSON."""

from __future__ import annotations

import json
import math

import pytest

from edge_client.adaptation.profile import DeviceProfile
from splitnet.errors import ProfileError

PROFILE = DeviceProfile("pi-4", "ab" * 32, {"w1 q0": 5.0, "jpeg 30": 1.25}, local_ms=200.0, local_ms_p90=230.5)


@pytest.mark.parametrize("profile", [PROFILE, DeviceProfile("pi-4", "ab" * 32, {"w1 q0": 5.0})])
def test_a_profile_survives_json(profile):
    assert DeviceProfile.from_json(json.loads(json.dumps(profile.to_json()))) == profile


@pytest.mark.parametrize("time", [0.0, -1.0, math.nan, math.inf])
def test_times_that_no_device_has_are_refused(time):
    with pytest.raises(ProfileError, match="measure again"):
        DeviceProfile("pi-4", "ab" * 32, {"w1 q0": time})
    with pytest.raises(ProfileError, match="measure again"):
        DeviceProfile("pi-4", "ab" * 32, {}, local_ms=time)


def test_a_profile_fits_its_own_device_and_bundle_only():
    PROFILE.check("pi-4", "ab" * 32)
    with pytest.raises(ProfileError, match="measured on pi-4, this is pi-5: measure this device"):
        PROFILE.check("pi-5", "ab" * 32)
    with pytest.raises(ProfileError, match="of bundle abababababab, this is cdcdcdcdcdcd: measure this bundle"):
        PROFILE.check("pi-4", "cd" * 32)


@pytest.mark.parametrize(
    "values",
    [
        None,
        [],
        {},
        {**PROFILE.to_json(), "format_version": 2},
        {**PROFILE.to_json(), "encode_ms": [1, 2]},
        {**PROFILE.to_json(), "encode_ms": {"w1 q0": "fast"}},
        {**PROFILE.to_json(), "local_ms": {}},
        {key: value for key, value in PROFILE.to_json().items() if key != "device"},
    ],
)
def test_what_is_no_profile_is_refused_in_one_line(values):
    with pytest.raises(ProfileError, match="not a profile") as caught:
        DeviceProfile.from_json(values)
    assert "\n" not in str(caught.value)
