"""Frames whose layers are still coming: when they are computed, and with how much.

A frame is computed when all its layers are there, or when its deadline leaves just the time for it. Its deadline counts
from the arrival of the first layer, as for any frame; but a layer that took longer to arrive than others of its session
has used up that much of it. Clocks are not compared for that, only differences of each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from splitnet.messages import MAX_PAYLOAD_BYTES, Frame, Layer

LONGEST_WAIT_S = 1.0  # for the layers of a frame without a deadline
LONGEST_DEADLINE_S = 10.0  # that layers are waited for, whatever the frame's own: it is held meanwhile
MARGIN_S = 0.008  # for timers, threads, and the undoing of the entropy coding
REMEMBERED = 64  # frames whose way is compared
LONGEST_EXCESS_S = 5.0  # more is no delay: a clock has jumped


class Timer(Protocol):
    """Something that will happen, as an event loop's `call_later` returns it."""

    def cancel(self) -> None:
        """Let it not happen."""


CallLater = Callable[[float, Callable[[int], None], int], Timer]


@dataclass
class _Incomplete:
    frame: Frame
    timer: Timer
    layers: dict[int, bytes] = field(default_factory=dict)  # those that have come, by their number
    due: float = 0.0

    @property
    def nbytes(self) -> int:
        return len(self.frame.payload) + sum(map(len, self.layers.values()))

    def leading(self) -> list[bytes]:
        """Return the first layer and those that follow it without a gap."""
        found = [self.frame.payload]
        while (layer := self.layers.get(len(found))) is not None:
            found.append(layer)
        return found


def _nobody(frame: Frame) -> None:
    """Compute nothing."""


class LayeredFrames:
    """The incomplete frames of one session. Everything here runs on the event loop."""

    def __init__(self, submit: Callable[[Frame], None], clock: Callable[[], float], call_later: CallLater) -> None:
        """Take what to call with a frame to be computed, whose payload is all that has come, a clock and a timer."""
        self._submit = submit
        self._clock = clock
        self._call_later = call_later
        self._incomplete: dict[int, _Incomplete] = {}
        self._ways_s: deque[float] = deque(maxlen=REMEMBERED)

    def begin(self, frame: Frame, compute_s: float) -> None:
        """Take a frame's first layer. compute_s: how long the server will take for it."""
        self._finish(frame.frame_id)  # a second one of the same name: the first is computed as it is
        now = self._clock()
        deadline_s = frame.deadline_ms / 1000 or LONGEST_WAIT_S + compute_s
        due = now + deadline_s - self._excess_s(now, frame)
        wait_s = min(due - now, LONGEST_DEADLINE_S) - compute_s - MARGIN_S
        timer = self._call_later(max(0.0, wait_s), self._finish, frame.frame_id)
        self._incomplete[frame.frame_id] = _Incomplete(frame, timer, due=due)

    def add(self, layer: Layer) -> None:
        """Take another layer, in any order; one that is there already or comes too late is of no use."""
        one = self._incomplete.get(layer.frame_id)
        if one is None or layer.layer >= one.frame.layers:
            return
        if one.nbytes + len(layer.payload) <= MAX_PAYLOAD_BYTES:
            one.layers.setdefault(layer.layer, layer.payload)
        if len(one.leading()) == one.frame.layers:
            self._finish(layer.frame_id)

    @property
    def nbytes(self) -> int:
        """What the payloads of incomplete frames take."""
        return sum(one.nbytes for one in self._incomplete.values())

    def close(self) -> None:
        """Forget all, and whoever computes: nobody waits for the answers any more."""
        for one in self._incomplete.values():
            one.timer.cancel()
        self._incomplete.clear()
        self._submit = _nobody

    def finish_all(self) -> None:
        """Compute every frame with what there is: no more layers will come."""
        for frame_id in list(self._incomplete):
            self._finish(frame_id)

    def _finish(self, frame_id: int) -> None:
        one = self._incomplete.pop(frame_id, None)
        if one is None:
            return
        one.timer.cancel()
        layers = one.leading()
        left_ms = max(1, round(1000 * (one.due - self._clock()))) if one.frame.deadline_ms else 0
        self._submit(replace(one.frame, payload=b"".join(layers), layers=len(layers), deadline_ms=left_ms))

    def _excess_s(self, now: float, frame: Frame) -> float:
        """Return how much longer than the quickest of its session a frame was on its way."""
        if not frame.sent_time_us:
            return 0.0
        way_s = now - frame.sent_time_us / 1e6  # of two clocks: only differences mean something
        if self._ways_s and abs(way_s - min(self._ways_s)) > LONGEST_EXCESS_S:
            self._ways_s.clear()
        self._ways_s.append(way_s)
        return way_s - min(self._ways_s)
