"""The `group-detector` command: a split detector shared out among the devices of a group."""

from __future__ import annotations

from training.command import Command
from training.groups.detector_parts import GroupDetectorSettings, make_group

COMMAND = Command(
    "group-detector",
    "share a split detector out among several devices, each of which makes a part of its features",
    GroupDetectorSettings,
    make_group,
)
