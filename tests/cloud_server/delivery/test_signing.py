"""What is signed of a bundle: its device half whole, and updates from what devices may have."""

from __future__ import annotations

import pytest

from cloud_server.delivery.signing import sign_bundle
from splitnet.errors import UpdateError
from splitnet.updates.artefact import BUNDLE, SELF_TEST_FILE, UPDATE
from splitnet.updates.route import cheapest_route
from tests.support.fleet import NOW, Fleet, new_fleet
from tests.support.updated_bundle import Updated, write_updated


@pytest.fixture(scope="module")
def updated(tiny_bundle, tmp_path_factory) -> Updated:
    return write_updated(tiny_bundle, tmp_path_factory.mktemp("signing") / "tiny-next")


@pytest.fixture
def fleet(tmp_path) -> Fleet:
    return new_fleet(tmp_path)


def test_an_update_is_signed_beside_the_whole_half_and_is_the_shorter_way(updated, tiny_bundle, fleet, tmp_path):
    path = tmp_path / "update.ssu"
    path.write_bytes(updated.data)
    sign_bundle(tiny_bundle, fleet.repository, fleet.keys, NOW)
    signed = sign_bundle(updated.bundle, fleet.repository, fleet.keys, NOW, updates=[path])
    change = signed[0]
    assert (change.kind, change.version, change.base) == (UPDATE, 2, updated.base.digest)
    assert {file.name for file in change.files} == {"update.ssu", SELF_TEST_FILE}
    whole = next(one for one in signed if (one.kind, one.form) == (BUNDLE, change.form))
    artefacts = fleet.repository.artefacts()
    assert [one.kind for one in cheapest_route(artefacts, change, updated.base.digest).steps] == [UPDATE]
    assert cheapest_route(artefacts, change, "").steps == (whole,)


def test_a_bundle_that_is_signed_again_has_the_self_test_that_devices_hold(tiny_bundle, fleet):
    first, again = (sign_bundle(tiny_bundle, fleet.repository, fleet.keys, NOW) for _ in range(2))
    assert [one.self_test for one in again] == [one.self_test for one in first]
    assert [one.files for one in again] == [one.files for one in first]
    assert first[0].version == 1 and again[0].version == 2


def test_an_update_that_no_device_can_use_is_refused(updated, tiny_bundle, fleet, tmp_path):
    path = tmp_path / "update.ssu"
    path.write_bytes(updated.data)
    with pytest.raises(UpdateError, match="which was never signed"):
        sign_bundle(updated.bundle, fleet.repository, fleet.keys, NOW, updates=[path])
    with pytest.raises(UpdateError, match="sign the one it was made for"):
        sign_bundle(tiny_bundle, fleet.repository, fleet.keys, NOW, updates=[path])
    path.write_bytes(b"hello")
    with pytest.raises(UpdateError, match="no update file"):
        sign_bundle(updated.bundle, fleet.repository, fleet.keys, NOW, updates=[path])
    assert fleet.repository.artefacts() == []
