"""All devices of a server: those with open sessions, and those that had one. Bounded, whoever comes. Pure."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from cloud_server.fleet.device import Device
from cloud_server.fleet.tally import Tally
from splitnet.device_status import STATUS_INTERVAL_S, DeviceStatus
from splitnet.messages import Frame, FrameDetections, FrameError

MAX_DEVICES = 1000  # whom we remember; of more, those that left longest ago are forgotten
MAX_REFUSALS = 20
EARLY_S = STATUS_INTERVAL_S / 2  # a status that comes sooner after the one before is dropped
REASONS = {
    "resource_exhausted": "busy",
    "deadline_exceeded": "late",
    "invalid_argument": "damaged",
    "failed_precondition": "bundle",
    "unavailable": "draining",
    "internal": "fault",
    "unauthenticated": "identity",
    "permission_denied": "identity",
}


class Refusal(NamedTuple):
    """A session that was not opened."""

    at: float
    host: str
    text: str


class Fleet:
    """Is told what happens to sessions, and counts it. Used on the event loop alone; time comes in as an argument."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.refusals: deque[Refusal] = deque(maxlen=MAX_REFUSALS)
        self.is_serving = False
        self.is_draining = False
        self.forgotten = 0
        self._devices: dict[tuple[str, str], Device] = {}

    @property
    def devices(self) -> Sequence[Device]:
        """Those that are known, in the order in which they first came."""
        return list(self._devices.values())

    @property
    def open_sessions(self) -> dict[str, int]:
        """The open sessions of each bundle."""
        counts: dict[str, int] = {}
        for device in self._devices.values():
            counts[device.bundle] = counts.get(device.bundle, 0) + len(device.sessions)
        return counts

    def find(self, id: str) -> Device | None:
        """Return the device with an address, None if there is none."""
        return next((device for device in self._devices.values() if device.id == id), None)

    def opened(self, now: float, name: str, host: str, session: str, bundle: str, digest: str) -> SessionWatch:
        """Note a session that opens. name: what the device calls itself. host: its address, without the port."""
        key = name, host
        if key not in self._devices:
            self._make_room()
            self._devices[key] = Device(_id_of(key), name, host, first_seen=now)
        device = self._devices[key]
        device.opened(now, session, bundle, digest)
        self.tally.sessions[bundle] += 1
        return SessionWatch(self.tally, device, session, bundle)

    def refused(self, now: float, host: str, status: str, text: str) -> None:
        """Note a session that is not opened. status: the name of gRPC's status."""
        self.tally.refusals[reason_of(status)] += 1
        self.refusals.append(Refusal(now, host, text))

    def tick(self, now: float) -> list[Device]:
        """Sample every device, about once a second; returns those with a new entry in their history."""
        return [device for device in self._devices.values() if device.tick(now)]

    def _make_room(self) -> None:
        if len(self._devices) < MAX_DEVICES:
            return
        gone = [(device.last_seen, key) for key, device in self._devices.items() if not device.sessions]
        if gone:
            del self._devices[min(gone)[1]]
        else:  # all are here: sessions are bounded elsewhere, so this is bounded, too
            self.forgotten += 1


class SessionWatch:
    """Is told what happens in one session."""

    def __init__(self, tally: Tally, device: Device, session: str, bundle: str) -> None:
        self.device, self.session = device, session
        self._tally, self._bundle = tally, bundle
        self._next_status_at = float("-inf")

    def frame(self, now: float, frame: Frame) -> None:
        """Note a frame that has arrived."""
        self._tally.frame(self._bundle, frame.operating_point.mode.value, len(frame.payload))
        self.device.frame(now, frame.operating_point, len(frame.payload))

    def answer(self, now: float, answer: FrameDetections | FrameError, deadline_ms: int = 0) -> None:
        """Note an answer."""
        if isinstance(answer, FrameDetections):
            self._tally.answered(self._bundle, answer.timing, deadline_ms)
            self.device.answered(now, answer.timing)
        else:
            self._tally.refused(self._bundle, reason_of(answer.status.name))
            self.device.refused(now, answer.message)

    def may_report(self, now: float) -> bool:
        """Return whether a status may be taken now; else it is dropped, unread."""
        if now < self._next_status_at:
            self._tally.bad_statuses += 1
            return False
        self._next_status_at = now + EARLY_S
        return True

    def reported(self, now: float, status: DeviceStatus) -> None:
        """Take what the device says of itself."""
        self._tally.statuses += 1
        self.device.reported(now, status)

    def bad_status(self) -> None:
        """Note a status that breaks the rules."""
        self._tally.bad_statuses += 1

    def closed(self, now: float) -> None:
        """Note the end of the session."""
        self.device.closed(now, self.session)


def reason_of(status: str) -> str:
    """Return why a frame or a session was refused, in a word, for a label. status: the name of gRPC's status."""
    return REASONS.get(status.lower(), "other")


def _id_of(key: tuple[str, str]) -> str:
    return hashlib.blake2b("\0".join(key).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
