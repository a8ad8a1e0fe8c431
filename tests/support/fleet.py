"""A repository of signed models, and what a device sees of it without a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cloud_server.delivery.keys import KeyFolder
from cloud_server.delivery.repository import Repository
from edge_client.delivery.model_state import Trust
from splitnet.updates.artefact import Artefact
from splitnet.updates.signed_list import FIRST_ROOT
from tests.support.artefacts import HALF, half_of

NOW = datetime(2026, 6, 1, 12, tzinfo=timezone.utc)


@dataclass
class Fleet:
    """A repository and the keys that sign for it."""

    repository: Repository
    keys: KeyFolder

    def fetch(self, name: str) -> Iterator[bytes] | None:
        """Return a list as a server would hand it out."""
        data = self.repository.metadata_file(name)
        return None if data is None else iter([data[:100], data[100:]])

    def first_trust(self) -> Trust:
        """Return what a device has that knows the first root only."""
        root = self.repository.metadata_file(FIRST_ROOT)
        assert root is not None
        return Trust(root)

    def sign_half(self, bundle: Path, version: int, now: datetime = NOW, names: Sequence[str] = HALF) -> Artefact:
        """Sign a bundle's device half without a self-test; returns it."""
        artefact, contents = half_of(bundle, version, names)
        for path in contents.values():
            self.repository.keep(path.read_bytes())
        self.repository.add([artefact], self.keys, now)
        return artefact


def new_fleet(folder: Path, now: datetime = NOW) -> Fleet:
    """Make keys and an empty repository."""
    fleet = Fleet(Repository(folder / "updates"), KeyFolder(folder / "keys"))
    fleet.repository.make(fleet.keys, now)
    return fleet


def seconds(now: datetime, days: float = 0.0) -> float:
    """Return a time as a device's clock says it."""
    return (now + timedelta(days=days)).timestamp()
