"""Which device is offered which version: rollouts, their audiences, and how many devices change at once. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from splitnet.errors import ConfigError
from splitnet.updates.delivery import DeviceState, Offer

ACTIVE, PAUSED, ABORTED = "active", "paused", "aborted"
ALL = "all"
_PERCENT = re.compile(r"(\d{1,3})(?:\.\d+)?%")
_GROUP = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Rollout:
    """A version on its way to devices."""

    version: int
    name: str  # of the bundle
    result: str  # digest of what devices have afterwards
    audience: str  # "all", a group, or "10%"
    max_concurrent: int  # devices on their way at once; 0: any number
    max_failures: int  # then it pauses by itself; 0: never
    state: str = ACTIVE
    note: str = ""  # why it is paused


@dataclass(frozen=True)
class KnownDevice:
    """A device as it was last seen. seen: seconds since 1970."""

    state: DeviceState
    seen: float
    offered: int = 0  # the version

    def has(self, rollout: Rollout) -> bool:
        """Return whether it runs what a rollout gives, or something newer, for good."""
        is_there = self.state.version >= rollout.version or self.state.digest == rollout.result
        return is_there and not self.state.phase.is_busy

    @property
    def failed_at(self) -> int:
        """The version that it has refused or rolled back; 0 if it has not."""
        return _version_of(self.state.target) if self.state.phase.is_failure else 0


def check_audience(text: str) -> str:
    """Return an audience. Raises ConfigError if it is none: all, the name of a group, or 1% to 100%."""
    percent = _PERCENT.fullmatch(text)
    if percent is not None and 0 < float(text[:-1]) <= 100:
        return text
    if percent is None and _GROUP.fullmatch(text):
        return text
    raise ConfigError(f"--to takes all, the name of a group, or a share such as 10%, not {text!r}")


def is_in(audience: str, device_id: str, groups: Iterable[str], name: str) -> bool:
    """Return whether a device belongs to an audience.

    A share takes the same devices every time, and more of them when it grows; other bundles begin with others.
    """
    if audience == ALL:
        return True
    if audience.endswith("%"):
        drawn = int.from_bytes(hashlib.sha256(f"{name}/{device_id}".encode()).digest()[:8], "big") / 2**64
        return 100 * drawn < float(audience[:-1])
    return audience in groups


class Plan:
    """The rollouts and devices at one moment."""

    def __init__(
        self,
        rollouts: Sequence[Rollout],
        devices: Mapping[str, KnownDevice],
        groups: Mapping[str, frozenset[str]],  # of a device
        served: frozenset[str],  # digests that the server takes sessions of
        initial: Mapping[str, tuple[int, str]],  # newest version of what a form can begin with, and its name
    ) -> None:
        """Take what is known."""
        self._rollouts = sorted(rollouts, key=lambda one: -one.version)
        self._devices, self._groups, self._served, self._initial = devices, groups, served, initial

    def offer(self, state: DeviceState) -> Offer:
        """Return what a device shall run."""
        is_served = state.digest in self._served
        for rollout in self._rollouts:
            if rollout.state == ABORTED or not self._concerns(rollout, state.device_id):
                continue
            if rollout.version <= state.version or (rollout.result == state.digest and not state.phase.is_busy):
                break
            if rollout.result not in self._served:
                continue
            if self._has_failed(rollout, state) and is_served:
                continue
            under_way = state.phase.is_busy and _version_of(state.target) == rollout.version
            if rollout.state == PAUSED:
                if under_way:
                    return Offer(rollout.version, is_served, rollout.name, is_halted=True)
                continue
            if under_way or not is_served or self._has_room(rollout, state.device_id):
                return Offer(rollout.version, is_served, rollout.name)
        return Offer(0, True) if is_served else self._first(state)

    def _first(self, state: DeviceState) -> Offer:
        """Return the offer for a device that has nothing which is served here."""
        found = [self._initial[form] for form in state.forms if form in self._initial]
        return Offer(found[0][0], False, found[0][1]) if found else Offer(0, False)

    def _concerns(self, rollout: Rollout, device_id: str) -> bool:
        return is_in(rollout.audience, device_id, self._groups.get(device_id, frozenset()), rollout.name)

    def _has_failed(self, rollout: Rollout, state: DeviceState) -> bool:
        known = self._devices.get(state.device_id)
        failed = KnownDevice(state, 0.0).failed_at
        return rollout.version in (failed, 0 if known is None else known.failed_at)

    def _has_room(self, rollout: Rollout, device_id: str) -> bool:
        if not rollout.max_concurrent:
            return True
        others = (one for name, one in self._devices.items() if name != device_id)
        return sum(self._is_under_way(one, rollout.version) for one in others) < rollout.max_concurrent

    def _is_under_way(self, device: KnownDevice, version: int) -> bool:
        """Return whether a device that was offered a version has not come to an end with it."""
        return device.offered == version and device.state.version < version and device.failed_at != version


def failures_of(version: int, devices: Iterable[KnownDevice]) -> int:
    """Return how many devices have refused or rolled back a version."""
    return sum(device.failed_at == version for device in devices)


def _version_of(target: str) -> int:
    """Return the version in a target's name, "7-coco-plus.torch.bundle"; 0 if it has none."""
    number = target.partition("-")[0]
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 17 else 0
