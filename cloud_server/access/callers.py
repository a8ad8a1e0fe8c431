"""Who calls: a device that has shown its certificate or its token, or just an address."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

from cloud_server.access.device_store import DeviceRecord
from cloud_server.access.directory import Directory
from cloud_server.scheduling.payer import Payer
from splitnet.errors import AccessError, ForbiddenError
from splitnet.text import printable

AUTHORIZATION, BEARER = "authorization", "Bearer "
MAX_TOKEN_CHARS = 256
MAX_COMMON_NAME_CHARS = 128


@dataclass(frozen=True)
class Caller:
    """Whoever calls."""

    address: str  # without the port
    name: str | None = None  # of a device that has shown who it is
    look_up: Callable[[], DeviceRecord] | None = None  # what the directory says of it now; raises AccessError

    @property
    def device(self) -> DeviceRecord | None:
        """What the directory says of the device now; None without a directory. Raises AccessError if it was revoked."""
        return None if self.look_up is None else self.look_up()

    @property
    def payer(self) -> Payer:
        """Who pays for what its calls cost, whatever it calls itself."""
        return Payer(("address", self.address)) if self.name is None else Payer(("device", self.name))

    def payer_of_session(self, device_id: str, camera: str = "") -> Payer:
        """Return who pays for a session under a name. Raises ForbiddenError if it is another device's.

        camera: which of the device's; each is a member of its group.
        """
        if self.name is None:
            return Payer(("address", self.address), (device_id, camera) if camera else device_id)
        if device_id != self.name:
            raise ForbiddenError(
                f"this device is {printable(self.name)} here, not {printable(device_id)}: leave --device-id out"
            )
        return self.payer._replace(member=camera)

    def check_may_use(self, bundle_name: str, digest: str) -> None:
        """Raise AccessError if it was revoked, ForbiddenError if it may not use a bundle."""
        device = self.device
        allowed = None if device is None else device.bundles
        if allowed is not None and not any(one == bundle_name or digest.startswith(one.lower()) for one in allowed):
            raise ForbiddenError(f"this device may not use bundle {bundle_name}: `cloud-server devices allow-bundle`")


class Callers:
    """Tells who calls, from what TLS and the metadata say."""

    def __init__(self, directory: Directory | None = None, own_authority: bool = False) -> None:
        """Take who is known, if only known devices may come.

        own_authority: whether client certificates are the operator's, whose common names are devices.
        """
        self._directory = directory
        self._own_authority = own_authority

    def anyone(self, peer: str) -> Caller:
        """Return a caller by its address alone. peer: as gRPC names it, "ipv4:192.0.2.1:50312"."""
        return Caller(peer.rpartition(":")[0] or peer)

    def known(self, peer: str, tls: Mapping[str, Iterable[bytes]], metadata: Iterable[tuple[str, Any]]) -> Caller:
        """Return a caller that may use the detectors. Raises AccessError.

        tls: gRPC's auth_context, by what the handshake has proven.
        """
        address = self.anyone(peer).address
        if self._own_authority:
            return Caller(address, _common_name(tls))
        if self._directory is None:
            return Caller(address)
        directory = self._directory
        certificate = next(iter(tls.get("x509_pem_cert", ())), None)
        if certificate is not None:
            device = directory.by_certificate(certificate)
            return Caller(address, device.name, partial(directory.holder, device, by_token=False))
        device = directory.by_token(_token(metadata))
        return Caller(address, device.name, partial(directory.holder, device, by_token=True))


CALLER: ContextVar[Caller] = ContextVar("CALLER")


def current_caller(peer: str) -> Caller:
    """Return who makes the call that is being served; by its address alone where no gate stands before the service."""
    return CALLER.get(Callers().anyone(peer))


def _token(metadata: Iterable[tuple[str, Any]]) -> str:
    for key, value in metadata:
        if key == AUTHORIZATION and isinstance(value, str) and value.startswith(BEARER):
            return value[len(BEARER) :][:MAX_TOKEN_CHARS]
    raise AccessError("this server takes known devices only: enrol this one (edge-client enrol), or give --token-file")


def _common_name(tls: Mapping[str, Iterable[bytes]]) -> str:
    names = [name.decode("utf-8", "replace") for name in tls.get("x509_common_name", ())]
    if len(names) != 1 or not 0 < len(names[0]) <= MAX_COMMON_NAME_CHARS or not names[0].isprintable():
        raise AccessError("the client certificate names no device: its common name is the device's")
    return names[0]
