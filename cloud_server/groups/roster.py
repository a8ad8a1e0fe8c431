"""The devices of one group: who makes which part, how far each has come, and who is waited for. Pure."""

from __future__ import annotations

import math
from collections.abc import Hashable, Set
from dataclasses import dataclass
from typing import Generic, TypeVar

from splitnet.errors import PlaceTakenError
from splitnet.messages import GroupPlace

LAGGING = 3  # frames in a row that were computed without a device's part: then nobody waits for it any more

M = TypeVar("M", bound=Hashable)


@dataclass
class _Seat:
    place: GroupPlace
    device: str
    latest: float = -1  # the highest frame that it has sent a part of: those before will not come any more
    missed: int = 0  # frames in a row


class Roster(Generic[M]):
    """Who is there. A device is a member, a hashable of the caller's, for as long as its session is open."""

    def __init__(self) -> None:
        self._seats: dict[M, _Seat] = {}

    def __len__(self) -> int:
        """Return the number of devices."""
        return len(self._seats)

    def seat(self, member: M, place: GroupPlace, device: str) -> M | None:
        """Give a device its place; returns the member that it replaces, if it was there under another session.

        Raises PlaceTakenError if another device makes the part. A spare one may make it, too.
        """
        before = next((one for one, seat in self._seats.items() if seat.place == place), None)
        if before is not None and self._seats[before].device != device:
            whose = f"{'the spare device of ' if place.spare else ''}part {place.part} of group {place.name}"
            advice = "" if place.spare else ", or give one of them --spare"
            raise PlaceTakenError(
                f"{self._seats[before].device} is {whose} already: give this device another part{advice}"
            )
        if before is not None:
            del self._seats[before]
        self._seats[member] = _Seat(place, device)
        return before

    def leave(self, member: M) -> None:
        """Take a device's place away."""
        self._seats.pop(member, None)

    def part_of(self, member: M) -> int:
        """Return the part that a device makes."""
        return self._seats[member].place.part

    def sent(self, member: M, frame_id: int) -> None:
        """Note that a device has sent its part of a frame."""
        self._seats[member].latest = max(frame_id, self._seats[member].latest)

    def finished(self, member: M) -> None:
        """Note that a device sends no more."""
        self._seats[member].latest = math.inf

    def restart(self) -> None:
        """Forget how far the devices have come: their frames are numbered anew."""
        for seat in self._seats.values():
            seat.latest = -1 if math.isfinite(seat.latest) else math.inf

    def in_time(self, member: M) -> None:
        """Note that a part has come before its frame had to be computed."""
        self._seats[member].missed = 0

    def missed(self, frame_id: int, parts: Set[int]) -> None:
        """Note that a frame was computed without parts that were waited for."""
        for seat in self._seats.values():
            if seat.place.part in parts and seat.latest < frame_id:
                seat.missed += 1

    def awaited(self, frame_id: int) -> set[int]:
        """Return the parts of a frame that may still come, of devices that are not lagging."""
        return {seat.place.part for seat in self._seats.values() if seat.latest < frame_id and seat.missed < LAGGING}

    @property
    def present(self) -> set[int]:
        """The parts that somebody makes."""
        return {seat.place.part for seat in self._seats.values()}

    @property
    def lagging(self) -> set[int]:
        """The parts that nobody makes in time."""
        return self.present - {seat.place.part for seat in self._seats.values() if seat.missed < LAGGING}
