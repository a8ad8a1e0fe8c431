"""The groups of devices whose sessions are open: their parts become frames for the engine, its answers go to them all.

A group is there while any of its devices is; with the last one everything goes that was kept of it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

from cloud_server.engine import Engine
from cloud_server.groups.frame_join import FrameJoin, FrameKey, JoinedFrame
from cloud_server.groups.group_frame import PartsTaken, group_frame
from cloud_server.groups.group_tally import GroupTally
from cloud_server.groups.roster import Roster
from cloud_server.job import Answer, Job, error_answer
from cloud_server.layered_frames import CallLater, Timer
from cloud_server.registry import BundleModelOf
from cloud_server.scheduling.payer import Payer
from splitnet.errors import BitstreamError, BundleMismatchError, ForbiddenError, ProtocolError, SplitError
from splitnet.messages import Frame, FrameDetections, GroupPlace, OpenSession
from splitnet.operating_point import Mode

logger = logging.getLogger(__name__)

OnPart = Callable[[Frame, Answer], None]  # a part of the device's, and the answer to its frame
OnGroupDetections = Callable[[str, Any, Frame, FrameDetections], None]


class Decoded(Protocol):
    """A decoded frame of a group."""

    @property
    def taken(self) -> PartsTaken:
        """What became of its parts."""


class Groups:
    """All groups of a server. Everything here runs on the event loop."""

    def __init__(
        self,
        engine: Engine[Any],
        on_detections: OnGroupDetections | None = None,
        clock: Callable[[], float] = time.monotonic,
        call_later: CallLater | None = None,
    ) -> None:
        """Take a started engine, who is told of the answers of groups, a clock and a timer."""
        self._engine = engine
        self._on_detections = on_detections
        self._clock = clock
        self._call_later = call_later
        self._groups: dict[str, _Group] = {}
        self.tally = GroupTally()

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self._groups)

    @property
    def devices(self) -> int:
        """The number of their devices."""
        return sum(len(group.roster) for group in self._groups.values())

    def figures(self) -> tuple[tuple[str, str, float, bool], ...]:
        """Return what the metrics say of groups: name, help, value, and whether it only grows."""
        tally = self.tally
        return (
            ("groups", "Groups of devices", len(self), False),
            ("group_devices", "Devices of groups", self.devices, False),
            ("group_lagging_parts", "Parts that a device makes, but too late", self.lagging, False),
            ("group_waiting_frames", "Frames of groups whose parts are still coming", self.waiting, False),
            ("group_parts", "Parts of frames that have come", tally.parts, True),
            ("group_frames", "Frames of groups answered by detections", tally.frames, True),
            ("group_degraded_frames", "Those of them that lacked a part", tally.degraded, True),
            ("group_missing_parts", "Parts that were filled in", tally.missing, True),
            ("group_join_seconds", "Time spent on joining parts, decoding and computing aside", tally.join_s, True),
        )

    @property
    def lagging(self) -> int:
        """The number of parts that some device makes, but none in time."""
        return sum(len(group.roster.lagging) for group in self._groups.values())

    @property
    def waiting(self) -> int:
        """The number of frames whose parts are still coming."""
        return sum(group.join.waiting for group in self._groups.values())

    @contextmanager
    def place(
        self, opening: OpenSession, model: BundleModelOf[Any], payer: Payer, is_known: bool
    ) -> Iterator[Member | None]:
        """Keep a device's place in its group while in this block; None if it stands alone. Raises as `join`."""
        member = self.join(opening, model, payer, is_known)
        try:
            yield member
        finally:
            if member is not None:
                member.leave()

    def join(self, opening: OpenSession, model: BundleModelOf[Any], payer: Payer, is_known: bool) -> Member | None:
        """Give a device its place in its group, until it leaves; None if it stands alone.

        is_known: whether it has shown who it is. Raises ProtocolError if bundle and place do not fit together,
        BundleMismatchError if the group runs another bundle, ForbiddenError if the device is not of the group, and
        PlaceTakenError.
        """
        place = opening.group
        check_place(model, place)
        if place is None:
            return None
        if is_known and not opening.device_id.startswith(f"{place.name}-"):
            raise ForbiddenError(
                f"{opening.device_id} is not of group {place.name}: where devices must show who they are, those of a "
                f"group are named after it, such as {place.name}-{place.part}; enrol it under such a name"
            )
        group = self._groups.get(place.name)
        if group is None:
            later = self._call_later or asyncio.get_running_loop().call_later
            group = _Group(self._engine, model, place.name, self._clock, later, self.tally, self._on_detections)
        elif group.model.device_digest != model.device_digest:
            raise BundleMismatchError(
                f"group {place.name} runs bundle {group.model.name} ({group.model.device_digest}); this device has "
                f"{model.name} ({model.device_digest}): give all devices of a group the same bundle"
            )
        member = Member(group, opening.device_id, place, payer, self._leave)
        before = group.roster.seat(member, place, opening.device_id)
        self._groups[place.name] = group
        if before is not None:
            before.replaced()
        return member

    def _leave(self, group: _Group) -> None:
        if not len(group.roster) and self._groups.get(group.name) is group:
            del self._groups[group.name]
            group.close()


class Member:
    """A device of a group, for as long as its session is open."""

    def __init__(
        self, group: _Group, device: str, place: GroupPlace, payer: Payer, on_leave: Callable[[_Group], None]
    ) -> None:
        self._group = group
        self._on_leave = on_leave
        self._on_part: OnPart | None = None
        self.place, self.payer, self.device = place, payer, device
        self.is_gone = False  # its place is another session's, or free

    def listen(self, on_part: OnPart) -> None:
        """Say who is told of the answers to the device's parts: one for each, whatever becomes of it."""
        self._on_part = on_part

    def offer(self, frame: Frame) -> None:
        """Take the device's part of a frame. Raises SplitError if it is of no use; then it is not answered."""
        if frame.operating_point.mode is not Mode.SPLIT or frame.layers:
            raise ProtocolError("a device of a group sends features, and those not in layers")
        if self.is_gone:
            raise ProtocolError(f"another session of this device has taken its place in group {self.place.name}")
        self._group.add(self, frame)

    def answer(self, frame: Frame, answer: Answer) -> None:
        """Tell the device, once the part is acknowledged."""
        asyncio.get_running_loop().call_soon(self._tell, frame, answer)

    def _tell(self, frame: Frame, answer: Answer) -> None:
        if self._on_part is not None:
            self._on_part(frame, answer)

    def replaced(self) -> None:
        """Note that another session of the same device has taken the place."""
        self.is_gone = True

    def finish(self) -> None:
        """Say that the device sends no more: nobody waits for it."""
        if not self.is_gone:
            self._group.finished(self)

    def leave(self) -> None:
        """Give the place up: the device is told nothing more."""
        self._on_part = None
        if not self.is_gone:
            self.is_gone = True
            self._group.leave(self)
            self._on_leave(self._group)


class _Group:
    """One group."""

    def __init__(
        self,
        engine: Engine[Any],
        model: BundleModelOf[Any],
        name: str,
        clock: Callable[[], float],
        call_later: CallLater,
        tally: GroupTally,
        on_detections: OnGroupDetections | None,
    ) -> None:
        self.model, self.name = model, name
        self.roster: Roster[Member] = Roster()
        self.join: FrameJoin[Member, Answer] = FrameJoin(self.roster)
        self._engine = engine
        self._clock, self._call_later = clock, call_later
        self._tally = tally
        self._on_detections = on_detections
        self._timer: Timer | None = None
        self._jobs: dict[Job[Any], FrameKey] = {}

    def add(self, member: Member, frame: Frame) -> None:
        """Take a part. Raises as `FrameJoin.add`."""
        begin = self._clock()
        joined, answer = self.join.add(begin, member, frame, self._engine.expected_s)
        if answer is not None:
            member.answer(frame, _for_device(answer, frame))
        self._go_on(joined)
        self._tally.part(self._clock() - begin)

    def finished(self, member: Member) -> None:
        """Wait no more for a device."""
        self.roster.finished(member)
        self._go_on(self.join.complete())

    def leave(self, member: Member) -> None:
        """Go on without a device."""
        self.roster.leave(member)
        self._go_on(self.join.complete())

    def close(self) -> None:
        """Forget everything."""
        if self._timer is not None:
            self._timer.cancel()
        for job in self._jobs:
            self._engine.cancel(job)
        self._jobs.clear()

    def _go_on(self, joined: list[JoinedFrame[Member]]) -> None:
        """Have frames computed, and set the timer for those that wait."""
        for one in joined:
            self._compute(one)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not math.isinf(wake_at := self.join.wake_at):
            self._timer = self._call_later(max(0.0, wake_at - self._clock()), self._wake, 0)

    def _wake(self, _: int) -> None:
        self._timer = None
        self._go_on(self.join.due(self._clock()))

    def _compute(self, joined: JoinedFrame[Member]) -> None:
        frame = group_frame(joined, self._clock())
        try:
            job = self._engine.submit(self.model, frame, self._finish, joined.first.payer)
        except SplitError as error:
            self._tell(joined.key, error_answer(frame.frame_id, frame.capture_time_us, error), PartsTaken(()))
            return
        self._jobs[job] = joined.key

    def _finish(self, job: Job[Any], answer: Answer) -> None:
        key = self._jobs.pop(job)
        taken = job.decoded.taken if job.decoded is not None else PartsTaken(())
        if isinstance(answer, FrameDetections):
            answer = replace(answer, parts_used=taken.used)
            self._tally.answered(len(taken.used), self.model.description.parts)
            if self._on_detections is not None:
                self._on_detections(self.name, self.model.description.class_names, job.frame, answer)
        self._tell(key, answer, taken)

    def _tell(self, key: FrameKey, answer: Answer, taken: PartsTaken) -> None:
        """Tell every device that has sent a part; what was wrong with one, its device alone."""
        for member, part, frame in self.join.answered(key, answer):
            if part in taken.refused:
                error = BitstreamError(taken.refused[part])
                member.answer(frame, error_answer(frame.frame_id, frame.capture_time_us, error))
            else:
                member.answer(frame, _for_device(answer, frame))


def _for_device(answer: Answer, frame: Frame) -> Answer:
    """Return a group's answer with what a device's own part has said."""
    return replace(answer, capture_time_us=frame.capture_time_us)


def check_place(model: BundleModelOf[Any], place: GroupPlace | None) -> None:
    """Raise ProtocolError unless a bundle and a place in a group fit together."""
    parts = model.description.parts
    if place is None and parts:
        raise ProtocolError(
            f"bundle {model.name} is for a group of {parts} devices: give each --group NAME and --part K/{parts}"
        )
    if place is not None and not parts:
        raise ProtocolError(f"bundle {model.name} has no parts for a group: leave --group out, or give another bundle")
    if place is not None and place.parts != parts:
        raise ProtocolError(f"bundle {model.name} has {parts} parts, not {place.parts}: give --part K/{parts}")
