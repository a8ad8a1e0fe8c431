"""The messages of delivery, as plain dataclasses, and their limits."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

MAX_CHUNK_BYTES = 1 << 16
MAX_REASON_CHARS = 300
MAX_TARGET_CHARS = 160


class Phase(str, Enum):
    """How far a device is with what it was offered."""

    IDLE = "idle"
    DOWNLOADING = "downloading"
    INSTALLED = "installed"
    TRIAL = "trial"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"

    @property
    def is_busy(self) -> bool:
        """Whether the device is on its way from one model to another."""
        return self in (Phase.DOWNLOADING, Phase.INSTALLED, Phase.TRIAL)

    @property
    def is_failure(self) -> bool:
        """Whether it has ended with the model of before."""
        return self in (Phase.ROLLED_BACK, Phase.REFUSED)


@dataclass(frozen=True)
class DeviceState:
    """What a device runs, and how far it is."""

    device_id: str
    forms: tuple[str, ...]  # of artefacts, that it can run
    digest: str = ""  # of the bundle that it runs, hexadecimal; empty: nothing yet
    version: int = 0  # 0: never signed
    phase: Phase = Phase.IDLE
    target: str = ""
    reason: str = ""
    done_bytes: int = 0
    total_bytes: int = 0


@dataclass(frozen=True)
class Offer:
    """What a device shall run."""

    version: int = 0  # 0: what it has
    is_served: bool = True
    name: str = ""
    is_halted: bool = False


@dataclass(frozen=True)
class FetchRequest:
    """A piece of a file: of TUF's, by its name, or an artefact's, by the digest of what is stored."""

    file: str  # "2.root.json", or 64 hexadecimal digits
    offset: int = 0
    max_bytes: int = MAX_CHUNK_BYTES


@dataclass(frozen=True)
class Chunk:
    """The piece."""

    data: bytes
    is_missing: bool = False
