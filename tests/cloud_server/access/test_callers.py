"""Who calls: what TLS, tokens and addresses say of it."""

from __future__ import annotations

import pytest

from cloud_server.access.callers import Callers
from cloud_server.scheduling.payer import Payer
from splitnet.errors import AccessError, ForbiddenError


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:50312", "ipv4:192.0.2.1"),
        ("ipv6:%5B2001:db8::1%5D:50312", "ipv6:%5B2001:db8::1%5D"),
        ("unix", "unix"),
    ],
)
def test_an_address_pays_whatever_its_port_and_its_names_are(peer, address):
    caller = Callers().known(peer, {}, ())
    assert caller.payer_of_session("camera-1") == Payer(("address", address), "camera-1")
    assert caller.payer == Payer(("address", address))


def test_a_certificate_of_an_own_authority_names_the_device():
    caller = Callers(own_authority=True).known("ipv4:192.0.2.1:1", {"x509_common_name": [b"camera-1"]}, ())
    assert caller.payer_of_session("camera-1") == Payer(("device", "camera-1"))
    with pytest.raises(ForbiddenError, match="this device is camera-1 here, not camera-2"):
        caller.payer_of_session("camera-2")


def test_each_camera_of_a_device_is_a_member_of_its_group():
    locked = Callers(own_authority=True).known("ipv4:192.0.2.1:1", {"x509_common_name": [b"board"]}, ())
    assert locked.payer_of_session("board", "yard") == Payer(("device", "board"), "yard")
    unknown = Callers().known("ipv4:192.0.2.1:1", {}, ())
    assert unknown.payer_of_session("board", "yard") == Payer(("address", "ipv4:192.0.2.1"), ("board", "yard"))


@pytest.mark.parametrize("names", [[], [b"a", b"b"], [b""], [b"x" * 129], [b"a\x1bb"]])
def test_a_certificate_without_a_usable_name_is_refused(names):
    with pytest.raises(AccessError, match="names no device"):
        Callers(own_authority=True).known("ipv4:192.0.2.1:1", {"x509_common_name": names}, ())
