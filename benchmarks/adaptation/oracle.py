"""The oracle: the best schedule that somebody could find who knows the link's future.

It knows the trace, every frame's bytes at every operating point, and every encode and service time. It plans the whole
run by a beam search over the frames, whose value is the sum of the rows' AP of frames in time. It is bound to what
binds every policy: one encoder, two frames in flight, the newest frame wins, bytes leave in order. It sends nothing
that would be late. As the product does, it detects on the device what no transmission can serve in time.

It is no proven optimum: the beam is finite, and AP of a whole run is not the mean of its rows' AP. But no policy
without foresight should come close to it on a link that changes quickly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.adaptation.simulation import Luck, World
from edge_client.adaptation.link import MESSAGE_OVERHEAD_BYTES
from edge_client.adaptation.point_table import PointCosts, PointTable
from edge_client.adaptation.policy import MAX_IN_FLIGHT, Decision, FrameContext, Policy
from splitnet.operating_point import LOCAL, SKIP, OperatingPoint

BEAM = 10  # schedules kept


@dataclass(frozen=True)
class _State:
    """Where a schedule stands after some frames."""

    value: float  # sum of AP
    encoder_free: float
    link_free: float
    places_free: tuple[float, ...]  # ascending
    local_free: float
    last: _Choice | None = None

    def beats(self, other: _State) -> bool:
        """Return whether another schedule has nothing over this one."""
        return (
            self.value >= other.value
            and self.encoder_free <= other.encoder_free
            and self.link_free <= other.link_free
            and self.local_free <= other.local_free
            and all(a <= b for a, b in zip(self.places_free, other.places_free, strict=True))
        )


@dataclass(frozen=True)
class _Choice:
    """One frame's point, and the choices before it."""

    frame_id: int
    point: OperatingPoint
    before: _Choice | None


class OraclePolicy(Policy):
    """Follows the plan for a world."""

    def __init__(self, world: World, table: PointTable) -> None:
        self._plan = plan(world, table)

    @property
    def works_offline(self) -> bool:
        """It plans for every frame that can be taken with a place."""
        return False

    def choose(self, now: float, context: FrameContext) -> Decision:
        """Return what is planned."""
        return Decision(self._plan.get(context.frame_id, SKIP), "planned")


@dataclass(frozen=True, eq=False)
class _Frame:
    """What is certain of one frame. Arrays have a value for each row of the table."""

    frame_id: int
    captured: float
    due: float
    encode_ms: NDArray[np.float64]  # of an idle device
    wire_bytes: NDArray[np.float64]
    back_s: float  # from delivery to detections


def plan(world: World, table: PointTable) -> dict[int, OperatingPoint]:
    """Return the operating point of every frame worth serving."""
    luck = world.luck()
    states = [_State(0.0, 0.0, 0.0, (0.0,) * MAX_IN_FLIGHT, 0.0)]
    for frame in _frames(world, luck, table.rows):
        slowness = luck.encode[frame.frame_id] / 1000
        states = _best([option for state in states for option in _options(world, table, state, frame, slowness)])
    chosen, points = max(states, key=lambda state: state.value).last, {}
    while chosen is not None:
        points[chosen.frame_id] = chosen.point
        chosen = chosen.before
    return points


def _frames(world: World, luck: Luck, rows: Sequence[PointCosts]) -> Iterator[_Frame]:
    encode_ms = np.array([world.device.encode_ms(row.point) for row in rows])
    for frame_id in range(1, world.count + 1):
        captured = (frame_id - 1) / world.fps
        sizes = [world.frames.payload_bytes(frame_id - 1, row.point) + MESSAGE_OVERHEAD_BYTES for row in rows]
        yield _Frame(
            frame_id,
            captured,
            captured + world.deadline_ms / 1000 if world.deadline_ms else np.inf,
            encode_ms,
            np.array(sizes, np.float64),
            world.rtt_ms / 1000 + luck.jitter_s[frame_id] + luck.server_ms[frame_id] / 1000,
        )


def _options(world: World, table: PointTable, state: _State, frame: _Frame, slowness: float) -> list[_State]:
    """Return every way to go on from a state with one frame; the first is to let it pass."""
    begin = max(frame.captured, state.encoder_free, state.places_free[0])
    if begin >= frame.captured + 1 / world.fps:
        return [state]  # overtaken
    slowness *= world.device.factor(begin)
    sent = _sent(world, table.rows, state, frame, begin, slowness) if table.rows else []
    options = [state, *sent]
    if table.local_ms is not None and table.local_ap is not None and state.local_free <= begin:
        done = begin + world.device.local_ms * slowness
        if done <= frame.due and (not sent or done - begin <= 1 / world.fps):
            last = _Choice(frame.frame_id, LOCAL, state.last)
            options.append(replace(state, value=state.value + table.local_ap, local_free=done, last=last))
    return options


def _sent(
    world: World, rows: Sequence[PointCosts], state: _State, frame: _Frame, begin: float, slowness: float
) -> list[_State]:
    """Return the states after sending a frame at each operating point that is in time."""
    encoded = begin + frame.encode_ms * slowness
    delivered = world.trace.finish_times(np.maximum(encoded, state.link_free), frame.wire_bytes)
    places = state.places_free[1:]
    return [
        _State(
            state.value + rows[i].ap,
            float(encoded[i]),
            float(delivered[i]),
            tuple(sorted((*places, float(delivered[i]) + frame.back_s))),
            state.local_free,
            _Choice(frame.frame_id, rows[i].point, state.last),
        )
        for i in np.flatnonzero(delivered + frame.back_s <= frame.due).tolist()
    ]


def _best(options: Sequence[_State]) -> list[_State]:
    """Return the best schedules, none of which another one beats."""
    kept: list[_State] = []
    for state in sorted(options, key=lambda s: (-s.value, s.link_free)):
        if not any(other.beats(state) for other in kept):
            kept.append(state)
            if len(kept) == BEAM:
                break
    return kept
