"""The settings of a device that is one of a group."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from splitnet.errors import ConfigError
from splitnet.messages import MAX_GROUP_CHARS, MAX_PARTS, GroupPlace
from splitnet.settings import option

GROUP_SCHEME = "group://"
_GROUP = "a group of devices"


def parse_part(text: str) -> tuple[int, int]:
    """Return the part and the number of parts of "2/4". ConfigError if it is none."""
    found = re.fullmatch(r"([0-9]{1,3})/([0-9]{1,3})", text)
    part, parts = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= part <= parts <= MAX_PARTS:
        raise ConfigError(f"--part is K/N, such as 2/4: part K of N, from 1 on, at most {MAX_PARTS}; not {text!r}")
    return part, parts


@dataclass(frozen=True)
class GroupConfig:
    """Settings of `edge-client run` for a group, which looks at one camera with several devices."""

    group: str = option(
        "this device is one of a group of this name: each makes a part of the features, and the server answers by the "
        "parts that have come (docs/groups.md)",
        default="",
        metavar="NAME",
        group=_GROUP,
        last=True,
    )
    part: tuple[int, int] | None = option(
        "which part this device makes, of how many the bundle has: 2/4",
        default=None,
        type=parse_part,
        metavar="K/N",
        group=_GROUP,
        last=True,
    )
    spare: bool = option(
        "another device makes the same part, too: the first of both to come is used",
        default=False,
        group=_GROUP,
        last=True,
    )
    group_listen: str = option(
        "this device owns the camera: hand its images to the others of the group from this address, such as "
        "0.0.0.0:8095; they take them by --source group://HOST:PORT",
        default="",
        metavar="HOST:PORT",
        group=_GROUP,
        last=True,
    )
    group_password_file: Path | None = option(
        "a password that the images of the group are handed on by; the same on all of its devices",
        default=None,
        metavar="FILE",
        group=_GROUP,
        last=True,
    )
    group_jpeg_quality: int = option(
        "quality of the JPEGs that images are handed on as, 1 to 100", default=95, metavar="N", group=_GROUP, last=True
    )

    @property
    def place(self) -> GroupPlace | None:
        """The device's place in its group; None if it stands alone."""
        return None if self.part is None else GroupPlace(self.group, *self.part, self.spare)

    def check_group(self) -> None:
        """Raise ConfigError if the settings of the group contradict one another."""
        if bool(self.group) != (self.part is not None):
            raise ConfigError("a device of a group needs both: --group NAME and --part K/N")
        if not self.group and (self.spare or self.group_listen):
            raise ConfigError("--spare and --group-listen belong to a group: give --group NAME and --part K/N")
        if len(self.group) > MAX_GROUP_CHARS or not self.group.isprintable():
            raise ConfigError(f"--group is printable text of at most {MAX_GROUP_CHARS} characters")
        if not 1 <= self.group_jpeg_quality <= 100:
            raise ConfigError("--group-jpeg-quality lies between 1 and 100")
