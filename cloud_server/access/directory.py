"""The devices as the running server knows them: read from the file once a second, so that every change is in force.

Nothing on the event loop waits for the file. Where it cannot be read any more, what was known goes on, and the log says
so.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cloud_server.access.device_store import DeviceRecord, DeviceStore, token_hash
from splitnet.device_keys import check_signed, root_as_pem, signer_of
from splitnet.errors import AccessError, ConfigError

REFRESH_S = 1.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class View:
    """All devices at one moment."""

    by_name: Mapping[str, DeviceRecord]
    by_key_id: Mapping[str, DeviceRecord]
    by_token: Mapping[bytes, DeviceRecord]
    roots: bytes  # PEM, of those that may come


def view_of(devices: list[DeviceRecord]) -> View:
    """Return what is looked up of devices."""
    coming = [device for device in devices if device.may_come]
    return View(
        {device.name: device for device in devices},
        {device.key_id: device for device in coming if device.key_id is not None},
        {device.token_hash: device for device in coming if device.token_hash is not None},
        b"".join(root_as_pem(device.root) for device in coming if device.root is not None),
    )


class Directory:
    """Who may come. `start` once, `stop` once; look-ups from any thread."""

    def __init__(self, store: DeviceStore) -> None:
        """Read the file. Raises ConfigError."""
        self._store = store
        self._state = store.state()
        self._devices = store.devices()
        self._view = view_of(self._devices)
        self._refused = ""
        self._stopping = threading.Event()
        self._looking = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="devices", daemon=True)
        self._on_change: Callable[[], object] = lambda: None

    def start(self, on_change: Callable[[], object]) -> None:
        """Begin to look at the file. on_change: called on a thread of the directory's, or of whoever refreshes."""
        self._on_change = on_change
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()

    @property
    def view(self) -> View:
        """What was known at the last look."""
        return self._view

    def refresh(self) -> None:
        """Look at the file now. Not on the event loop."""
        with self._looking:
            state = self._store.state()
            if state == self._state and not state.is_fresh:
                return
            try:
                devices = self._store.devices()
                view = self._view if devices == self._devices else view_of(devices)
            except (ConfigError, AccessError, ValueError) as error:
                if str(error) != self._refused:
                    self._refused = str(error)
                    logger.error("devices cannot be read, going on with those known", extra={"reason": str(error)})
                return
            self._refused, self._state = "", state
            changed, self._devices, self._view = view is not self._view, devices, view
        if changed:
            logger.info("devices changed", extra={"devices": len(devices)})
            self._on_change()

    def by_certificate(self, certificate: bytes) -> DeviceRecord:
        """Return the device that signed a TLS client certificate (PEM). Raises AccessError."""
        device = self._view.by_key_id.get(signer_of(certificate))
        if device is None or device.key is None:
            raise AccessError("this device is not known here, or was revoked: enrol it (cloud-server devices invite)")
        check_signed(certificate, device.key)
        return device

    def by_token(self, token: str) -> DeviceRecord:
        """Return the device that has a token. Raises AccessError."""
        device = self._view.by_token.get(token_hash(token))
        if device is None:
            raise AccessError("the token is wrong, or was revoked: make a new one (cloud-server devices token)")
        return device

    def holder(self, before: DeviceRecord, by_token: bool) -> DeviceRecord:
        """Return a device as it is now. Raises AccessError if it may not come any more with the key or token it had."""
        now = self._view.by_name.get(before.name)
        if now is not None and now.may_come:
            same = now.token_hash == before.token_hash if by_token else now.key_id == before.key_id
            if same:
                return now
        raise AccessError("this device was revoked, or has another key by now: enrol it anew")

    def _run(self) -> None:
        while not self._stopping.wait(REFRESH_S):
            self.refresh()
