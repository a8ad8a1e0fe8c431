"""The policy that settings ask for: a fixed point, a schedule, or the one that adapts."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from edge_client.adaptation.adaptive_policy import AdaptivePolicy
from edge_client.adaptation.controller import ControlSettings
from edge_client.adaptation.point_table import Choice, PointTable, build_table
from edge_client.adaptation.policy import FixedPolicy, Policy, SchedulePolicy
from edge_client.adaptation.profile import DeviceProfile
from edge_client.adaptation.shared_link import CameraLink
from edge_client.config import RunConfig
from edge_client.encoding.encoder import EncoderRuntime
from edge_client.encoding.local_detector import LocalRuntime
from splitnet.codec.h264 import has_h264
from splitnet.errors import ConfigError
from splitnet.operating_point import LOCAL, Mode, OperatingPoint

if TYPE_CHECKING:
    from splitnet.manifest import Manifest

_CHOICES: dict[str, Choice] = {"auto": "auto", "split": "split", "image": "image"}


def adapts(config: RunConfig, manifest: Manifest) -> Choice | None:
    """Return what to choose from while running; None if what to do is fixed.

    Raises ConfigError if the settings contradict one another or the bundle.
    """
    choice = _wanted(config, manifest)
    if choice is None and (config.min_fps or config.max_kbps):
        raise ConfigError("--min-fps and --max-kbps bound what is chosen while running: give --deadline-ms as well")
    return choice


def _wanted(config: RunConfig, manifest: Manifest) -> Choice | None:
    able = config.deadline_ms > 0 and bool(manifest.points)
    if config.mode == "auto" and not able:
        missing = f"bundle {manifest.name} has no measured points: run `python -m training evaluate` on it"
        raise ConfigError(missing if config.deadline_ms > 0 else "--mode auto needs --deadline-ms")
    if config.fixes_the_point or config.mode == Mode.LOCAL.value or not able:
        return None
    return _CHOICES[config.mode or "auto"]


def needs_local(config: RunConfig, choice: Choice | None) -> bool:
    """Return whether the device's own detector is worth its memory."""
    return choice == "auto" or any(point == LOCAL for point in _fixed_points(config))


def make_policy(
    config: RunConfig,
    choice: Choice | None,
    encoder: EncoderRuntime,
    local: LocalRuntime | None,
    profile: DeviceProfile | None,
    link: CameraLink | None = None,
) -> Policy:
    """Return who chooses: with a profile, the policy that adapts. Raises ConfigError.

    link: the camera's, where several share one.
    """
    manifest = encoder.manifest
    if choice is not None and profile is not None:
        may_build = has_h264() and not config.whole_frames  # its pictures build on those before
        table = build_table(manifest, profile, choice, may_build).with_layers(encoder.has_layers)
        return AdaptivePolicy(table, limits_of(config, local is not None), link)
    points = _fixed_points(config) or (config.point(manifest.widths, manifest.qualities),)
    for point in points:
        encoder.check(point)
    if LOCAL in points and local is None:
        if (config.bundle / manifest.local_file).exists():
            raise ConfigError("there is no memory to detect on the device")
        raise ConfigError(f"to detect on the device, copy {manifest.local_file} of bundle {manifest.name} there too")
    return SchedulePolicy(points, config.schedule_frames) if config.schedule else FixedPolicy(points[0])


def limits_of(config: RunConfig, has_local: bool = False) -> ControlSettings:
    """Return what the user asks of the choice."""
    return ControlSettings(config.deadline_ms, config.min_fps, config.max_kbps, has_local, config.byte_price_ap)


def _fixed_points(config: RunConfig) -> tuple[OperatingPoint, ...]:
    return (LOCAL,) if config.mode == Mode.LOCAL.value else config.schedule


def mode_tables(manifest: Manifest, profile: DeviceProfile) -> Mapping[Mode, PointTable]:
    """Return the table of each mode that there is one for, to compare them; see `advice`."""
    choices: dict[Mode, Choice] = {Mode.SPLIT: "split", Mode.IMAGE: "image", Mode.LOCAL: "local"}
    tables = {}
    for mode, choice in choices.items():
        with suppress(ConfigError):  # nothing to choose from in this mode
            tables[mode] = build_table(manifest, profile, choice)
    return tables
