"""What a device takes for signed, and what it refuses: the attacks that TUF's specification names."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from datetime import timedelta

import pytest

from edge_client.delivery.trust_settings import check_first_root
from edge_client.delivery.trusted_list import refreshed
from splitnet.errors import LinkError, UntrustedError
from tests.support.fleet import NOW, Fleet, new_fleet, seconds


@pytest.fixture
def fleet(tmp_path, tiny_bundle) -> Fleet:
    one = new_fleet(tmp_path)
    one.sign_half(tiny_bundle, 1)
    return one


def refused(fleet: Fleet, trust, clock: float = seconds(NOW), fetch=None) -> str:
    with pytest.raises(UntrustedError) as caught:
        refreshed(trust, fetch or fleet.fetch, clock)
    return str(caught.value)


def changed(fleet: Fleet, name: str, change) -> object:
    """Return what hands out one list changed."""

    def fetch(wanted: str):
        found = fleet.fetch(wanted)
        return iter([change(b"".join(found))]) if wanted == name and found is not None else found

    return fetch


def test_a_signed_artefact_is_found(fleet):
    trust, artefacts = refreshed(fleet.first_trust(), fleet.fetch, seconds(NOW))
    assert [one.target for one in artefacts] == ["1-tiny-0.torch.bundle"]
    assert trust.signed_at == seconds(NOW)


def test_nothing_new_changes_nothing(fleet):
    trust, artefacts = refreshed(fleet.first_trust(), fleet.fetch, seconds(NOW))
    assert refreshed(trust, fleet.fetch, seconds(NOW)) == (trust, artefacts)


def test_another_fleet_is_refused(fleet, tmp_path):
    other = new_fleet(tmp_path / "other")
    assert "not signed by whom this device trusts" in refused(other, fleet.first_trust())
    with pytest.raises(UntrustedError, match="are signed by"):
        check_first_root(other.first_trust().root, fleet.repository.fingerprint)
    with pytest.raises(UntrustedError, match="no signed models"):
        check_first_root(None, fleet.repository.fingerprint)
    assert check_first_root(fleet.first_trust().root, fleet.repository.fingerprint.upper())


@pytest.mark.parametrize("name", ["timestamp.json", "2.snapshot.json", "2.targets.json"])
def test_a_changed_or_unsigned_list_is_refused(fleet, name):
    assert refused(
        fleet, fleet.first_trust(), fetch=changed(fleet, name, lambda data: data.replace(b'"version"', b'"w"'))
    )
    unsigned = changed(fleet, name, lambda data: json.dumps({**json.loads(data), "signatures": []}).encode())
    assert "not signed" in refused(fleet, fleet.first_trust(), fetch=unsigned)
    later = changed(fleet, name, lambda data: data.replace(b"2026", b"2036").replace(b"2031", b"2041"))
    assert "not signed" in refused(fleet, fleet.first_trust(), fetch=later)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b'{"signed": 1}', b"null"])
def test_what_is_no_list_is_refused(fleet, data):
    for name in ("timestamp.json", "2.snapshot.json", "2.targets.json"):
        assert refused(fleet, fleet.first_trust(), fetch=changed(fleet, name, lambda _: data))


def test_a_replayed_list_is_refused(fleet, tiny_bundle, tmp_path):
    shutil.copytree(fleet.repository.path, tmp_path / "before")
    old = Fleet(type(fleet.repository)(tmp_path / "before"), fleet.keys)
    fleet.sign_half(tiny_bundle, 2)
    trust, _ = refreshed(fleet.first_trust(), fleet.fetch, seconds(NOW))
    assert "older than what this device has seen" in refused(old, trust)


def test_a_list_that_nobody_vouches_for_any_more_expires(fleet):
    assert refreshed(fleet.first_trust(), fleet.fetch, seconds(NOW, 13.9))
    text = refused(fleet, fleet.first_trust(), seconds(NOW, 14.1))
    assert "has expired" in text and "2026-06-15" in text and "look at both clocks" in text
    assert fleet.repository.vouch(NOW + timedelta(days=14))
    assert refreshed(fleet.first_trust(), fleet.fetch, seconds(NOW, 14.1))


def test_a_device_without_a_clock_counts_from_what_was_signed_last(fleet):
    trust, _ = refreshed(fleet.first_trust(), fleet.fetch, 0.0)
    fleet.repository.vouch(NOW + timedelta(days=20), days_left=100)
    trust, _ = refreshed(trust, fleet.fetch, 0.0)
    assert trust.signed_at == seconds(NOW, 20)
    before = dataclasses.replace(fleet.first_trust(), signed_at=seconds(NOW, 40))
    assert "has expired" in refused(fleet, before, 0.0)


@pytest.mark.parametrize("role", ["root", "targets", "online"])
def test_a_rotated_key_is_followed_and_the_old_one_is_not(fleet, tiny_bundle, tmp_path, role):
    trust, _ = refreshed(fleet.first_trust(), fleet.fetch, seconds(NOW))
    shutil.copytree(tmp_path / "keys", tmp_path / "stolen")
    shutil.copytree(fleet.repository.path, tmp_path / "forged")
    assert fleet.repository.rotate(role, fleet.keys, NOW) == 2
    fleet.sign_half(tiny_bundle, 2)
    trust, artefacts = refreshed(trust, fleet.fetch, seconds(NOW))
    assert [one.version for one in artefacts] == [2, 1] and b'"version":2' in trust.root
    forged = Fleet(type(fleet.repository)(tmp_path / "forged"), type(fleet.keys)(tmp_path / "stolen"))
    for version in (2, 3, 4):
        forged.sign_half(tiny_bundle, version)
    if role == "root":  # whoever has the root key of before makes a root of its own, which nobody follows
        forged.repository.rotate("targets", forged.keys, NOW)
        forged.sign_half(tiny_bundle, 5)
        return
    assert "not signed" in refused(forged, trust)


def test_a_device_that_has_missed_rotations_follows_all_of_them(fleet, tiny_bundle):
    for role in ("root", "root", "targets", "online", "root"):
        fleet.repository.rotate(role, fleet.keys, NOW)
    fleet.sign_half(tiny_bundle, 2)
    trust, artefacts = refreshed(fleet.first_trust(), fleet.fetch, seconds(NOW))
    assert b'"version":6' in trust.root and artefacts[0].version == 2


def test_a_root_that_the_old_one_has_not_signed_is_refused(fleet, tmp_path):
    other = new_fleet(tmp_path / "other")
    other.repository.rotate("root", other.keys, NOW)
    forged = other.repository.metadata_file("2.root.json")
    fetch = lambda name: iter([forged]) if name == "2.root.json" else fleet.fetch(name)  # noqa: E731
    assert "not signed" in refused(fleet, fleet.first_trust(), fetch=fetch)


@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"])
def test_a_list_without_end_is_not_read_to_its_end(fleet, name):
    read = itertools.count()

    def endless():
        while next(read) < 1000:
            yield bytes(65_536)
        pytest.fail("a thousand pieces were read")

    fetch = lambda wanted: endless() if wanted == name else fleet.fetch(wanted)  # noqa: E731
    assert "without end" in refused(fleet, fleet.first_trust(), fetch=fetch)


def test_a_cut_link_is_not_taken_for_an_attack(fleet):
    def cut(name):
        raise LinkError("the link is gone")

    with pytest.raises(LinkError):
        refreshed(fleet.first_trust(), cut, seconds(NOW))


def test_an_artefact_that_this_software_does_not_understand_is_left_out(fleet, tiny_bundle, monkeypatch):
    monkeypatch.setattr("splitnet.updates.artefact.KINDS", ("bundle", "update", "later"))
    later = dataclasses.replace(fleet.repository.artefacts()[0], version=2, kind="later")
    fleet.repository.add([later], fleet.keys, NOW)
    monkeypatch.undo()
    _, artefacts = refreshed(fleet.first_trust(), fleet.fetch, seconds(NOW))
    assert [one.version for one in artefacts] == [1]
