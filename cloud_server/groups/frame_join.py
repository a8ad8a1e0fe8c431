"""The frames of one group whose parts are still coming: when each is computed, and with which parts. Pure.

A frame is computed when all parts have come that anybody may still send, or when its deadline leaves just the time. The
devices' clocks are never compared: each says how much of the deadline was left when it sent its part, which the server
counts from that part's arrival, and the earliest end counts.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from cloud_server.groups.roster import Roster
from splitnet.errors import DeadlineExceededError, ProtocolError
from splitnet.messages import Frame

LONGEST_WAIT_S = 1.0  # for the parts of a frame without a deadline
LONGEST_DEADLINE_S = 10.0  # that parts are waited for, whatever the frame's own
MARGIN_S = 0.008  # for timers, threads, and the undoing of the entropy coding
MAX_WAITING = 16  # frames of a group; of more, the oldest is computed as it is
REMEMBERED = 32  # frames that are computed, for parts that come later
SILENT_S = 1.0  # without a part of the camera that a group looks at: then it may look at another

M = TypeVar("M", bound=Hashable)
A = TypeVar("A")  # an answer


FrameKey = tuple[int, int]  # of a frame: the run of the camera, and the frame's id in it


class Contribution(NamedTuple, Generic[M]):
    """A part of a frame, whose device awaits the answer."""

    member: M
    part: int
    frame: Frame


class JoinedFrame(NamedTuple, Generic[M]):
    """A frame that is to be computed now, by the parts that have come. due: math.inf without a deadline."""

    key: FrameKey
    first: M  # whose part was the first
    parts: Mapping[int, Frame]  # by their numbers, in order
    due: float


@dataclass
class _Entry(Generic[M, A]):
    size: tuple[int, int]  # of the image, (width, height)
    decide_at: float  # when it is computed at the latest
    due: float = math.inf  # when the answer is wanted
    contributions: list[Contribution[M]] = field(default_factory=list)  # that are not answered yet
    parts: dict[int, Frame] = field(default_factory=dict)
    is_taken: bool = False
    answer: A | None = None

    def add(self, now: float, one: Contribution[M], compute_s: float) -> None:
        """Take a part in time, the first of its number, and the end that it sets."""
        if self.parts.setdefault(one.part, one.frame) is not one.frame or not one.frame.deadline_ms:
            return
        self.due = min(self.due, now + one.frame.deadline_ms / 1000)
        wait_s = min(self.due - now, LONGEST_DEADLINE_S) - compute_s - MARGIN_S
        latest = math.inf if len(self.parts) == 1 else self.decide_at
        self.decide_at = min(latest, now + max(0.0, wait_s))


class FrameJoin(Generic[M, A]):
    """Joins the parts of one group's frames. Time comes in as an argument, in seconds of any one clock."""

    def __init__(self, roster: Roster[M]) -> None:
        """Take who is there."""
        self._roster = roster
        self._entries: dict[FrameKey, _Entry[M, A]] = {}  # those that are computed included
        self._stream = 0  # the run of the camera that the group looks at
        self._stream_at = -math.inf  # when the last part of it came
        self._forgotten = -1  # the highest frame of it that is not remembered any more

    @property
    def waiting(self) -> int:
        """The number of frames whose parts are still coming."""
        return len(self._waiting())

    @property
    def nbytes(self) -> int:
        """What the payloads of all parts take that are held."""
        return sum(len(one.frame.payload) for entry in self._entries.values() for one in entry.contributions)

    @property
    def wake_at(self) -> float:
        """When `due` has a frame at the latest; math.inf if none waits."""
        return min((self._entries[key].decide_at for key in self._waiting()), default=math.inf)

    def add(self, now: float, member: M, frame: Frame, compute_s: float) -> tuple[list[JoinedFrame[M]], A | None]:
        """Take a device's part of a frame; returns what is to be computed now, and the answer if there is one already.

        compute_s: how long the server will take for a frame. Raises ProtocolError if the part is of another image than
        the others, and DeadlineExceededError if its frame was answered too long ago.
        """
        joined = self._follow(now, member, frame)
        entry = self._entry(now, member, frame)
        self._roster.sent(member, frame.frame_id)
        if now <= entry.decide_at:
            self._roster.in_time(member)
        if entry.answer is None:
            one = Contribution(member, self._roster.part_of(member), frame)
            entry.contributions.append(one)
            if not entry.is_taken:
                entry.add(now, one, compute_s)
        surplus = [self._take(key) for key in self._waiting()[:-MAX_WAITING]]
        return [*joined, *surplus, *self.complete()], entry.answer

    def due(self, now: float) -> list[JoinedFrame[M]]:
        """Return the frames that cannot wait any longer, the oldest first."""
        found = [key for key in self._waiting() if self._entries[key].decide_at <= now]
        for key in found:
            self._roster.missed(key[1], self._missing(key))
        return [self._take(key) for key in found]

    def complete(self) -> list[JoinedFrame[M]]:
        """Return the frames to which no part will come any more, as after a device has left."""
        return [self._take(key) for key in self._waiting() if not self._missing(key)]

    def answered(self, key: FrameKey, answer: A) -> list[Contribution[M]]:
        """Note the answer to a frame; returns the parts whose devices are to be told."""
        entry = self._entries.get(key)
        if entry is None:
            return []
        contributions, entry.contributions, entry.answer = entry.contributions, [], answer
        self._forget()
        return contributions

    def _waiting(self) -> list[FrameKey]:
        return sorted(key for key, entry in self._entries.items() if not entry.is_taken)

    def _missing(self, key: FrameKey) -> set[int]:
        return self._roster.awaited(key[1]) - self._entries[key].parts.keys()

    def _take(self, key: FrameKey) -> JoinedFrame[M]:
        entry = self._entries[key]
        entry.is_taken = True
        parts, entry.parts = dict(sorted(entry.parts.items())), {}
        return JoinedFrame(key, entry.contributions[0].member, parts, entry.due)

    def _entry(self, now: float, member: M, frame: Frame) -> _Entry[M, A]:
        """Return what there is of a part's frame. Raises as `add`."""
        part, size = self._roster.part_of(member), (frame.frame_width, frame.frame_height)
        if frame.frame_id <= self._forgotten:
            self._roster.sent(member, frame.frame_id)
            raise DeadlineExceededError(
                f"part {part} of frame {frame.frame_id} has come when the group had answered frame "
                f"{self._forgotten} and {REMEMBERED} more: this device, or its link, is too slow for its group"
            )
        entry = self._entries.setdefault((self._stream, frame.frame_id), _Entry(size, now + LONGEST_WAIT_S))
        if size != entry.size:
            raise ProtocolError(
                f"part {part} of frame {frame.frame_id} is of an image of {size[0]}x{size[1]} pixels, the others of "
                f"one of {entry.size[0]}x{entry.size[1]}: let all devices of a group look at one camera"
            )
        return entry

    def _follow(self, now: float, member: M, frame: Frame) -> list[JoinedFrame[M]]:
        """Look at the camera that a part is of; returns the frames of the one before, if it has ended.

        Raises ProtocolError if that has not ended.
        """
        joined: list[JoinedFrame[M]] = []
        if frame.group_stream != self._stream:
            if now - self._stream_at < SILENT_S:
                raise ProtocolError(
                    f"part {self._roster.part_of(member)} of frame {frame.frame_id} is of another camera than the "
                    "group looks at: give all its devices the images of one owner (--group-camera) or the same file, "
                    "or give the groups different names"
                )
            joined = [self._take(key) for key in self._waiting()]
            self._stream, self._forgotten = frame.group_stream, -1
            self._roster.restart()
            self._forget()
        self._stream_at = now
        return joined

    def _forget(self) -> None:
        """Drop answers that are of no use any more."""
        done = sorted(key for key, entry in self._entries.items() if entry.answer is not None)
        own = [key for key in done if key[0] == self._stream]
        for key in done:
            if key[0] != self._stream or key in own[:-REMEMBERED]:
                del self._entries[key]
        self._forgotten = max([self._forgotten, *(key[1] for key in own[:-REMEMBERED])])
