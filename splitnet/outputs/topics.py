"""MQTT topics and Home Assistant's ids, safe for any name. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from splitnet.errors import ConfigError

MAX_BASE_CHARS = 200
_NOT_OF_IDS = re.compile("[^a-zA-Z0-9_-]")
_NOT_OF_LEVELS = re.compile(rb"[^a-zA-Z0-9_.~-]")
_ESCAPED = re.compile(rb"%([0-9A-F]{2})")


def level(name: str) -> str:
    """Return a name as one level of a topic: what is not a letter, a digit or one of "_.-~" stands as %XX.

    So a name cannot hold a wildcard or further levels, and no two names share a level.
    """
    escaped = _NOT_OF_LEVELS.sub(lambda found: b"%%%02X" % found[0][0], name.encode("utf-8", "replace"))
    return escaped.decode() or "%"


def name_of(level: str) -> str:
    """Return the name that stands as a level."""
    text = "" if level == "%" else level
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), text.encode()).decode("utf-8", "replace")


def id_of(*names: str) -> str:
    """Return an id as Home Assistant takes it; names with other signs are told apart by a checksum."""
    text = "_".join(names)
    plain = _NOT_OF_IDS.sub("_", text)
    return plain if plain == text else f"{plain}_{hashlib.sha256(repr(names).encode()).hexdigest()[:8]}"


def check_base(topic: str) -> str:
    """Return a topic that others can begin with. Raises ConfigError if it cannot be one."""
    wrong = not topic or topic.startswith(("$", "/")) or topic.endswith("/") or not topic.isprintable()
    if wrong or any(sign in topic for sign in "+#") or len(topic) > MAX_BASE_CHARS:
        raise ConfigError(f"--mqtt-topic is a topic such as slimsplit or home/cameras, without + and #, not {topic!r}")
    return topic


@dataclass(frozen=True)
class Topics:
    """The topics of one reporter. node: its own name."""

    base: str
    node: str

    @property
    def availability(self) -> str:
        """Whether the reporter is there: online or offline. Retained; the broker says offline for it (last will)."""
        return f"{self.base}/{level(self.node)}/availability"

    def events(self, camera: str) -> str:
        """What changes before a camera."""
        return f"{self.base}/{level(camera)}/events"

    def frames(self, camera: str) -> str:
        """Every frame, on request."""
        return f"{self.base}/{level(camera)}/frames"

    def status(self, camera: str) -> str:
        """Frames a second and the quality of the link. Retained."""
        return f"{self.base}/{level(camera)}/status"

    def count(self, camera: str, zone: str, label: str) -> str:
        """How many objects of a class there are, in a zone or ("") in the whole image. Retained."""
        place = f"zone/{level(zone)}/" if zone else ""
        return f"{self.base}/{level(camera)}/{place}count/{level(label)}"

    def counts_of(self, camera: str) -> list[str]:
        """Return the filters that match every count of a camera."""
        start = f"{self.base}/{level(camera)}"
        return [f"{start}/count/+", f"{start}/zone/+/count/+"]

    def place_of(self, topic: str) -> tuple[str, str] | None:
        """Return zone and label of the topic of a count; None if it is none."""
        parts = topic.removeprefix(f"{self.base}/").split("/")[1:]
        if len(parts) == 2 and parts[0] == "count":
            return "", name_of(parts[1])
        if len(parts) == 4 and (parts[0], parts[2]) == ("zone", "count"):
            return name_of(parts[1]), name_of(parts[3])
        return None
