"""The frame of all simulated runs of the adaptation benchmark, and the policies that they compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from benchmarks.adaptation.effective_accuracy import FrameBank, Seen
from benchmarks.adaptation.greedy_oracle import GreedyOraclePolicy
from benchmarks.adaptation.link_model import STEP_S
from benchmarks.adaptation.links import Law, Link
from benchmarks.adaptation.optimum import OptimalPolicy
from benchmarks.adaptation.oracle import OraclePolicy
from benchmarks.adaptation.rivals import LocalOnlyPolicy, SeePolicy
from benchmarks.adaptation.simulation import Device, World
from benchmarks.adaptation.summary import GREEDY_ORACLE, LAYERED, OPTIMUM, ORACLE
from benchmarks.harness.traces import Trace
from edge_client.adaptation.adaptive_policy import AdaptivePolicy
from edge_client.adaptation.controller import ControlSettings
from edge_client.adaptation.layered_rows import LAYERS
from edge_client.adaptation.point_table import Choice, PointCosts, PointTable, build_table
from edge_client.adaptation.policy import FixedPolicy, Policy
from edge_client.adaptation.profile import DeviceProfile
from splitnet.errors import ConfigError
from splitnet.manifest import Manifest
from splitnet.operating_point import LOCAL, Mode, parse_point

ADAPTING = ("adaptive", LAYERED, "split", "image", "see", "local", OPTIMUM, GREEDY_ORACLE, ORACLE)
FIXED = "fixed"  # stands for every fixed point


@dataclass(frozen=True)
class Study:
    """What all runs share."""

    manifest: Manifest
    bank: FrameBank
    device: Device
    fps: float
    rtt_ms: float
    server_ms: float
    _known_ap: dict[Seen, float] = field(default_factory=dict, repr=False)

    def world(self, trace: Trace, deadline_ms: float, device: Device | None = None) -> World:
        """Return the world of one run over a whole trace."""
        device = device or self.device
        times = trace.duration_s, self.fps, self.rtt_ms, self.server_ms
        return World(trace, self.bank, device, deadline_ms, *times, max_layers=LAYERS)

    def table(self, mode: Choice = "auto") -> PointTable:
        """Return what the device's profile and the bundle give a policy to choose from."""
        encode_ms = {
            str(point): self.device.encode_ms(point) * self.device.slowdown
            for point in self.bank.points
            if point.is_sent
        }
        local_ms = self.device.local_ms * self.device.slowdown if LOCAL in self.bank.points else None
        profile = DeviceProfile("simulated", self.manifest.digest, encode_ms, local_ms)
        table = build_table(self.manifest, profile, mode)
        return replace(table, rows=tuple(self._in_layers(row) for row in table.rows))

    def _in_layers(self, row: PointCosts) -> PointCosts:
        """Return a row with what its layers take and give on these images; with none if that was not measured."""
        if row.point not in self.bank.layers:
            return replace(row, layer_bytes=(), layer_ap=())
        sizes = self.bank.layers[row.point].mean(axis=0).cumsum()
        whole = self.bank.payload[:, self.bank.points.index(row.point)].mean()
        parts = [self._ap(part) / self._ap(row.point) for part in self.bank.parts if part.point == row.point]
        return replace(row, layer_bytes=tuple((sizes / whole).tolist()), layer_ap=(*parts, 1.0))

    def _ap(self, seen: Seen) -> float:
        """Return the accuracy of all images looked at in one way."""
        if seen not in self._known_ap:
            self._known_ap[seen] = self.bank.effective_ap([(i, seen) for i in range(self.bank.images)]).ap
        return self._known_ap[seen]

    def worth(self, seen: Seen) -> float:
        """Return the accuracy that all images have, looked at in one way; of those that nobody has looked at, 0."""
        return 0.0 if seen is None else self._ap(seen)

    def has_optimum(self, link: Link, fps: float) -> bool:
        """Return whether the best that can be known on a link is known: its law is, and a frame is a step of it."""
        return link.law is not None and fps * STEP_S == 1

    def layer_rows(self) -> list[dict[str, object]]:
        """Return, for each point in layers, the share of bytes and of accuracy with each layer."""
        rows = [row for row in self.table().rows if row.layer_ap]
        return [
            {
                "point": str(row.point),
                "bytes_shares": [round(share, 3) for share in row.layer_bytes],
                "ap_shares": [round(share, 3) for share in row.layer_ap],
            }
            for row in rows
        ]

    def policy(self, name: str, world: World, law: Law | None = None) -> Policy:
        """Return a policy by its name: one of ADAPTING, or an operating point. law: of the link, where it is known.

        Raises ConfigError.
        """
        if name == OPTIMUM and law is None:
            raise ConfigError("the optimum is known for generated links only: give --generated")
        table, settings = self._table, ControlSettings(world.deadline_ms, has_local=True)
        made: dict[str, Callable[[], Policy]] = {
            "adaptive": lambda: AdaptivePolicy(table, replace(settings, in_layers=False)),
            LAYERED: lambda: AdaptivePolicy(table, settings),
            "split": lambda: AdaptivePolicy(self.table("split"), replace(settings, has_local=False, in_layers=False)),
            OPTIMUM: lambda: OptimalPolicy(world, table, *(law or ())),
            "image": lambda: AdaptivePolicy(self.table("image"), settings),
            "see": lambda: SeePolicy(self.table("split").rows),
            "local": LocalOnlyPolicy,
            GREEDY_ORACLE: lambda: GreedyOraclePolicy(world, table),
            ORACLE: lambda: OraclePolicy(world, table),
        }
        return made[name]() if name in made else FixedPolicy(parse_point(name))

    @cached_property
    def _table(self) -> PointTable:
        return self.table()

    def fixed(self, most: int = 0) -> list[str]:
        """Return the names of fixed points: every split one and the images of the table, or so many of the table's."""
        rows = self._table.rows
        if 0 < most < len(rows):
            return [str(rows[i].point) for i in np.linspace(0, len(rows) - 1, most).round().astype(int)]
        return [str(point) for point in self.bank.points if point.mode is Mode.SPLIT] + [
            str(row.point) for row in self.table("image").rows
        ]

    def named(self, names: Sequence[str], most_fixed: int = 0) -> list[str]:
        """Return the names of policies, FIXED spelt out."""
        return list(dict.fromkeys(n for name in names for n in (self.fixed(most_fixed) if name == FIXED else [name])))
