"""The frame of all simulated runs of the adaptation benchmark, and the policies that they compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.adaptation.effective_accuracy import FrameBank
from benchmarks.adaptation.greedy_oracle import GreedyOraclePolicy
from benchmarks.adaptation.oracle import OraclePolicy
from benchmarks.adaptation.rivals import LocalOnlyPolicy, SeePolicy
from benchmarks.adaptation.simulation import Device, World
from benchmarks.adaptation.summary import GREEDY_ORACLE, ORACLE
from benchmarks.harness.traces import Trace
from edge_client.adaptation.adaptive_policy import AdaptivePolicy
from edge_client.adaptation.controller import ControlSettings
from edge_client.adaptation.point_table import Choice, PointTable, build_table
from edge_client.adaptation.policy import FixedPolicy, Policy
from edge_client.adaptation.profile import DeviceProfile
from splitnet.manifest import Manifest
from splitnet.operating_point import LOCAL, Mode, parse_point

ADAPTING = ("adaptive", "image", "see", "local", GREEDY_ORACLE, ORACLE)
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

    def world(self, trace: Trace, deadline_ms: float, device: Device | None = None) -> World:
        """Return the world of one run over a whole trace."""
        device = device or self.device
        return World(trace, self.bank, device, deadline_ms, trace.duration_s, self.fps, self.rtt_ms, self.server_ms)

    def table(self, mode: Choice = "auto") -> PointTable:
        """Return what the device's profile and the bundle give a policy to choose from."""
        encode_ms = {
            str(point): self.device.encode_ms(point) * self.device.slowdown
            for point in self.bank.points
            if point.is_sent
        }
        local_ms = self.device.local_ms * self.device.slowdown if LOCAL in self.bank.points else None
        return build_table(self.manifest, DeviceProfile("simulated", self.manifest.digest, encode_ms, local_ms), mode)

    def policy(self, name: str, world: World) -> Policy:
        """Return a policy by its name: one of ADAPTING, or an operating point. Raises ConfigError."""
        table, settings = self.table(), ControlSettings(world.deadline_ms, has_local=True)
        made: dict[str, Callable[[], Policy]] = {
            "adaptive": lambda: AdaptivePolicy(table, settings),
            "image": lambda: AdaptivePolicy(self.table("image"), settings),
            "see": lambda: SeePolicy(self.table("split").rows),
            "local": LocalOnlyPolicy,
            GREEDY_ORACLE: lambda: GreedyOraclePolicy(world, table),
            ORACLE: lambda: OraclePolicy(world, table),
        }
        return made[name]() if name in made else FixedPolicy(parse_point(name))

    def fixed(self) -> list[str]:
        """Return the names of all fixed points worth trying: every split one and the images of the table."""
        return [str(point) for point in self.bank.points if point.mode is Mode.SPLIT] + [
            str(row.point) for row in self.table("image").rows
        ]

    def named(self, names: Sequence[str]) -> list[str]:
        """Return the names of policies, FIXED spelt out."""
        return list(dict.fromkeys(n for name in names for n in (self.fixed() if name == FIXED else [name])))
