"""Kept profiles, and which of them are used."""

from __future__ import annotations

import json

import pytest

from edge_client.adaptation.profile import DeviceProfile
from edge_client.measuring.profile_cache import (
    FINGERPRINT_CHARS,
    cached_profile,
    device_fingerprint,
    keep_profile,
    profile_path,
    read_profile,
)
from splitnet.errors import ProfileError

DIGEST = "ab" * 32
PROFILE = DeviceProfile("pi-4", DIGEST, {"w1 q0": 5.0}, 200.0, 230.0)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def test_a_kept_profile_is_found_again(cache, caplog):
    assert cached_profile("pi-4", DIGEST) is None
    path = keep_profile(PROFILE)
    assert path == cache / "slimsplit" / "profiles" / "pi-4-abababababab.json"
    assert cached_profile("pi-4", DIGEST) == PROFILE
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    assert caplog.text == ""


def test_another_device_or_bundle_has_a_profile_of_its_own():
    keep_profile(PROFILE)
    assert cached_profile("pi-5", DIGEST) is None
    assert cached_profile("pi-4", "cd" * 32) is None


def test_without_the_variable_the_home_folder_is_used(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert profile_path("pi-4", DIGEST).parent == tmp_path / ".cache" / "slimsplit" / "profiles"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "cannot be read"),
        ("[]", "not a profile"),
        (json.dumps({**PROFILE.to_json(), "device": "pi-5"}), "measured on pi-5, this is pi-4"),
        (json.dumps({**PROFILE.to_json(), "bundle_digest": "cd" * 32}), "of bundle cdcdcdcdcdcd, this is abababababab"),
    ],
)
def test_a_kept_profile_of_no_use_is_said_in_one_line(caplog, content, complaint):
    keep_profile(PROFILE).write_text(content)
    assert cached_profile("pi-4", DIGEST) is None
    (record,) = caplog.records
    assert complaint in record.message
    assert "\n" not in record.message


def test_a_profile_that_cannot_be_kept_is_no_harm(cache, caplog):
    (cache / "slimsplit").write_text("a file where the folder should be")
    assert keep_profile(PROFILE) is None
    assert "measured again next time" in caplog.text


def test_what_the_command_has_written_is_read_as_well(tmp_path):
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"machine": {}, "points": [], "profile": PROFILE.to_json()}))
    assert read_profile(path) == PROFILE


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ProfileError, match="cannot be read"):
        read_profile(tmp_path / "none.json")


def test_a_fingerprint_is_one_word_and_tells_threads_apart():
    one, two = device_fingerprint("cpu", 1), device_fingerprint("cpu", 2)
    assert one != two
    assert one.endswith("1-threads-cpu")
    assert len(one) <= FINGERPRINT_CHARS
    assert all(letter.isalnum() or letter in "-_." for letter in one)
