"""The best that can be known: the optimal policy on a link whose law is known and whose future is not.

On a link made by a Markov chain (`link_model`), this policy is told the chain, the state that the link is in, and how
many bytes wait in front of it. It does not know where the chain goes next, nor how large a frame will be and how long
the server will take; of those it knows the distributions. So no rule that sees only acks can know more. By dynamic
programming it finds for every state the action with the most expected accuracy, of this frame and all later ones.

The state of the decision process is (state of the chain, bytes waiting, steps for which the device's own detector is
busy). A step is a frame: the chain's step must be the source's interval. A frame at an operating point is in time if
the link has carried what waits and the frame itself by then: the share of sampled paths of the chain, sizes and server
times on which it has. What is simplified: two frames in flight are no limit, and a frame is captured as a step begins.
Frames are whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.adaptation.link_model import STEP_S, LinkModel
from benchmarks.adaptation.simulation import World
from edge_client.adaptation.link import MESSAGE_OVERHEAD_BYTES
from edge_client.adaptation.point_table import PointTable
from edge_client.adaptation.policy import Decision, FrameContext, Policy
from splitnet.operating_point import LOCAL, SKIP

PATHS = 200  # sampled from each state of the chain
BACKLOGS = 20  # values that are told apart, closer together where they are small
DISCOUNT = 0.95  # a frame of two seconds later counts a third
SWEEPS = 60
SERVER_SPREAD = 0.3  # of the logarithm of the server's time, as in `simulation.World.luck`
NORMAL_P90 = 1.2816
SEED = 5

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Problem:
    """The decision process of a world on a chain. K states, B backlogs, A operating points."""

    model: LinkModel
    table: PointTable
    deadline_s: float
    encode_s: Floats  # (A,)
    local_s: float  # infinity: the device cannot detect alone
    rtt_s: float
    server_s: float

    @cached_property
    def sizes(self) -> Floats:
        """The bytes of a frame at each point (A,), as they usually are."""
        return np.array([row.bytes_p50 for row in self.table.rows]) + MESSAGE_OVERHEAD_BYTES

    @cached_property
    def aps(self) -> Floats:
        """The accuracy of each point (A,)."""
        return np.array([row.ap for row in self.table.rows])

    @cached_property
    def backlogs(self) -> Floats:
        """The bytes waiting that are told apart (B,)."""
        return np.linspace(0.0, 1.0, BACKLOGS) ** 2 * 3 * float(self.sizes.max())

    @cached_property
    def _paths(self) -> tuple[Floats, Floats, Floats]:
        """Sampled luck: bytes carried after n steps (K, PATHS, n + 1), sizes over the usual, server seconds."""
        rng = np.random.default_rng(SEED)
        count, states = int(np.ceil(self.deadline_s / STEP_S)) + 1, len(self.model.rates_bps)
        drawn = self.model.states(count, rng, np.repeat(np.arange(states), PATHS).tolist())
        carried = np.cumsum(self.model.rates_bps[drawn] * STEP_S / 8, axis=1).reshape(states, PATHS, count)
        spread = np.median([np.log(row.bytes_p90 / row.bytes_p50) / NORMAL_P90 for row in self.table.rows])
        sizes, server_s = rng.lognormal(0.0, spread, PATHS), self.server_s * rng.lognormal(0.0, SERVER_SPREAD, PATHS)
        return np.pad(carried, ((0, 0), (0, 0), (1, 0))), sizes, server_s

    def chances(self, state: int, backlog: Floats, waited_s: float = 0.0) -> Floats:
        """Return the chance of each point to be in time from a state of the chain with bytes waiting, (B, A)."""
        carried, sizes, server_s = self._paths
        until_s = np.maximum(0.0, self.deadline_s - waited_s - self.rtt_s - server_s)
        by_then = _at(carried[state], until_s[:, None])  # (PATHS, 1)
        encoded = _at(carried[state], np.broadcast_to(self.encode_s, (PATHS, len(self.encode_s))))  # (PATHS, A)
        own = sizes[:, None] * self.sizes
        begun = np.maximum(encoded, backlog[:, None, None])  # the link has done this much when it begins with the frame
        done = (begun + own <= by_then) & (self.encode_s <= until_s[:, None])
        return np.asarray(done.mean(axis=1))

    @cached_property
    def _rewards(self) -> Floats:
        """The expected accuracy of a frame at each point (K, B, A)."""
        share = np.minimum(1.0, STEP_S / np.maximum(self.encode_s, 1e-9))
        states = range(len(self.model.rates_bps))
        return np.stack([self.chances(state, self.backlogs) for state in states]) * self.aps * share

    @property
    def local_steps(self) -> int:
        """The steps for which the device's own detector is busy with a frame."""
        return 1 if np.isinf(self.local_s) else max(1, int(np.ceil(self.local_s / STEP_S)))

    @property
    def local_ap(self) -> float:
        """What the device's own detector gives a frame: nothing if it is late."""
        return (self.table.local_ap or 0.0) if self.local_s <= self.deadline_s else 0.0

    @cached_property
    def values(self) -> Floats:
        """The accuracy still to come, discounted, (K, B, steps that the detector is busy)."""
        value = np.zeros((len(self.model.rates_bps), BACKLOGS, self.local_steps))
        for _ in range(SWEEPS):
            value = self._actions(value).max(axis=0)
        return value

    def _actions(self, value: Floats) -> Floats:
        """Return what each action is worth: each point, the own detector, nothing; (A + 2, K, B, steps)."""
        ahead = DISCOUNT * np.einsum("kl,lbj->kbj", self.model.transitions, value)
        idle = np.concatenate([ahead[:, :, :1], ahead[:, :, :-1]], axis=2)  # a step later the detector is freer
        begun = np.broadcast_to(ahead[:, :, -1:], ahead.shape)
        after = self._after
        sent = [self._rewards[:, :, a, None] + _moved(idle, self.backlogs, after[a]) for a in range(len(self.aps))]
        kept = _moved(idle, self.backlogs, after[-1])
        local = np.full_like(kept, -np.inf)
        local[:, :, 0] = (self.local_ap + _moved(begun, self.backlogs, after[-1]))[:, :, 0]
        return np.stack([*sent, local, kept])

    @cached_property
    def _after(self) -> Floats:
        """The bytes that wait one step later after each point, and after none, (A + 1, K, B)."""
        carried = self.model.rates_bps[:, None] * STEP_S / 8
        encode_s, sizes = np.append(self.encode_s, 0.0), np.append(self.sizes, 0.0)
        meanwhile = self.model.rates_bps[:, None] * np.minimum(encode_s, STEP_S)[:, None, None] / 8
        waiting = np.maximum(0.0, self.backlogs - meanwhile) + sizes[:, None, None]
        return np.asarray(np.maximum(0.0, waiting - np.maximum(0.0, carried - meanwhile)))

    def best(self, state: int, backlog: float, busy_steps: int, waited_s: float) -> int:
        """Return the best action: the number of a row, then the own detector, then nothing."""
        ahead = DISCOUNT * np.einsum("l,lbj->bj", self.model.transitions[state], self.values)
        later, begun = ahead[:, max(0, busy_steps - 1)], ahead[:, -1]
        rate = self.model.rates_bps[state] / 8
        drained = np.maximum(0.0, backlog - rate * np.minimum(self.encode_s, STEP_S)) + self.sizes
        after = np.maximum(0.0, drained - rate * np.maximum(0.0, STEP_S - self.encode_s))
        left = max(0.0, backlog - rate * STEP_S)
        chances = self.chances(state, np.array([backlog]), waited_s)[0]
        share = np.minimum(1.0, STEP_S / np.maximum(self.encode_s, 1e-9))
        sent = chances * self.aps * share + np.interp(after, self.backlogs, later)
        in_time = self.local_s + waited_s <= self.deadline_s and not busy_steps
        local = self.local_ap + float(np.interp(left, self.backlogs, begun)) if in_time else -np.inf
        return int(np.argmax([*sent, local, np.interp(left, self.backlogs, later)]))


class OptimalPolicy(Policy):
    """Does what is best on a generated link, told the state of the chain and the queue."""

    def __init__(self, world: World, table: PointTable, model: LinkModel, states: NDArray[np.intp]) -> None:
        """Take the chain that made the world's link, and the states that it went through."""
        self._world = world
        self._states = states
        slowness = world.device.slowdown / 1000
        encode_s = np.array([world.device.encode_ms(row.point) for row in table.rows]) * slowness
        local_s = world.device.local_ms * slowness if table.local_ms is not None else np.inf
        times = world.deadline_ms / 1000, encode_s, local_s, world.rtt_ms / 1000, world.server_ms / 1000
        self._problem = Problem(model, table, *times)
        self._link_free = 0.0
        self._local_free = 0.0

    @property
    def works_offline(self) -> bool:
        """Whether the device can detect alone."""
        return not np.isinf(self._problem.local_s)

    def choose(self, now: float, context: FrameContext) -> Decision:
        """Return the best action, among those that are possible now."""
        if not context.can_send:
            return Decision(SKIP if context.local_pending or not self.works_offline else LOCAL, "optimal")
        state = int(self._states[min(int(now / STEP_S), len(self._states) - 1)])
        ends = np.array([now, max(now, self._link_free)])
        waiting = float(np.diff(self._world.trace.delivered_bytes(ends))[0])
        left = int(np.ceil((self._local_free - now) / STEP_S))
        busy = min(max(1, left), self._problem.local_steps) if context.local_pending else 0
        rows = self._problem.table.rows
        action = self._problem.best(state, waiting, busy, now - context.capture_time)
        if action < len(rows):
            return Decision(rows[action].point, "optimal")
        if action == len(rows):
            self._local_free = now + self._problem.local_s
        return Decision(LOCAL if action == len(rows) else SKIP, "optimal")

    def sent(self, now: float, frame_id: int, payload_bytes: int, layer: int = 0) -> None:
        """Follow the queue."""
        wire_bytes = payload_bytes + MESSAGE_OVERHEAD_BYTES
        self._link_free = self._world.trace.finish_time(max(now, self._link_free), wire_bytes)


def _at(carried: Floats, times_s: Floats) -> Floats:
    """Return what paths (PATHS, n + 1) have carried at times (PATHS, m)."""
    place = np.minimum(times_s / STEP_S, carried.shape[1] - 1.0)
    low = np.minimum(place.astype(np.intp), carried.shape[1] - 2)
    rows = np.arange(len(carried))[:, None]
    return np.asarray(carried[rows, low] + (place - low) * (carried[rows, low + 1] - carried[rows, low]))


def _moved(values: Floats, backlogs: Floats, after: Floats) -> Floats:
    """Return values (K, B, steps) at other backlogs (K, B), linear in between."""
    place = np.interp(after, backlogs, np.arange(len(backlogs)))
    low = np.minimum(place.astype(np.intp), len(backlogs) - 2)
    share = (place - low)[:, :, None]
    states = np.arange(len(values))[:, None]
    return np.asarray((1 - share) * values[states, low] + share * values[states, low + 1])
