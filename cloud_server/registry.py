"""The bundles that are served side by side: loaded, warmed up, replaced and retired while frames flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from cloud_server.engine import Engine
from cloud_server.job import Model
from splitnet.bundle_folders import bundles_in
from splitnet.errors import BundleError, BundleMismatchError
from splitnet.manifest import FILE_NAME, load_manifest
from splitnet.messages import BundleDescription

MAX_NAMED = 8  # bundles in an error message: gRPC's status messages are bounded

D = TypeVar("D")


class BundleModelOf(Model[D], Protocol[D]):
    """A model that knows which bundle it is."""

    @property
    def device_digest(self) -> str:
        """The digest that its devices name: another bundle's, if it has the device half of that."""

    @property
    def name(self) -> str:
        """The bundle's name."""

    @property
    def description(self) -> BundleDescription:
        """What a client must know of the bundle."""

    @property
    def memory_bytes(self) -> int:
        """What its weights take."""


@dataclass(frozen=True)
class Changes:
    """What a look at the folders has changed. Names and short digests."""

    loaded: tuple[str, ...]
    retired: tuple[str, ...]
    refused: tuple[str, ...]  # why, for each broken bundle


class Registry(Generic[D]):
    """Finds the model of a digest. `find` is for the event loop; `refresh` blocks and is for one thread at a time.

    A session keeps the model that it began with: retiring only means that no new session gets it, and its memory
    is free when the last session has ended.
    """

    def __init__(
        self,
        engine: Engine[D],
        sources: Sequence[Path],
        load: Callable[[Path], BundleModelOf[D]],
        held_bytes: Callable[[], int] = lambda: 0,
    ) -> None:
        """Take bundles or folders of bundles, the first of which is the default, and what loads one.

        held_bytes: says what the weights of all models together take, equal ones counted once.
        """
        self._engine = engine
        self._held_bytes = held_bytes
        self._sources = sources
        self._load = load
        self._by_folder: dict[Path, BundleModelOf[D]] = {}

    @property
    def models(self) -> Sequence[BundleModelOf[D]]:
        """What new sessions can have, the default first."""
        return list(self._by_folder.values())

    @property
    def memory_mb(self) -> dict[str, float]:
        """What the weights of each bundle take."""
        return {_name(model): round(model.memory_bytes / 1e6, 1) for model in self.models}

    @property
    def held_mb(self) -> float:
        """What the weights of all bundles take together, equal ones counted once."""
        return round(self._held_bytes() / 1e6, 1)

    def find(self, digest: str) -> BundleModelOf[D]:
        """Return the model for devices that name a digest, or the default one if it is empty.

        Where several serve the same devices, that is the first of them. Raises BundleMismatchError if it is not served,
        or no longer.
        """
        models = self.models
        for model in models:
            if digest in ("", model.device_digest):
                return model
        served = ", ".join(f"{model.name} ({model.device_digest})" for model in models[:MAX_NAMED])
        others = f" and {len(models) - MAX_NAMED} more" if len(models) > MAX_NAMED else ""
        raise BundleMismatchError(
            f"this server serves bundle {served}{others}; the device has {digest}: give both the same bundle"
        )

    def refresh(self) -> Changes:
        """Look at the folders again: load what is new, retire what is gone, go on with the old where one is broken.

        New models are warm before the first session gets one; then all changes at once. Raises BundleError if
        nothing would be left; then nothing changes.
        """
        refused: list[str] = []
        found: dict[Path, BundleModelOf[D]] = {}
        for folder in self._folders():
            model = self._current(folder, refused)
            if model is not None:
                found[folder] = model
        if not found:
            raise BundleError(refused[0] if refused else "no bundle is left: give one with --bundle")
        before, after = _by_digest(self._by_folder), _by_digest(found)
        self._by_folder = found
        loaded = [_name(model) for digest, model in after.items() if digest not in before]
        retired = [_name(model) for digest, model in before.items() if digest not in after]
        return Changes(tuple(loaded), tuple(retired), tuple(refused))

    def _folders(self) -> Iterator[Path]:
        for source in self._sources:
            yield from bundles_in(source) or [source]

    def _current(self, folder: Path, refused: list[str]) -> BundleModelOf[D] | None:
        """Return what a folder holds now: the model that it had if it is the same, or if it is broken now."""
        old = self._by_folder.get(folder)
        try:
            digest = load_manifest(folder).digest
            same = next((model for model in self._by_folder.values() if model.digest == digest), None)
            return same or self._new(folder)
        except BundleError as error:
            refused.append(str(error))
            return old if (folder / FILE_NAME).exists() else None

    def _new(self, folder: Path) -> BundleModelOf[D]:
        try:
            model = self._load(folder)
            self._engine.adopt(model)
        except RuntimeError as error:  # torch: no memory left on the device
            raise BundleError(f"{folder} cannot be run here: {error}") from error
        return model


def _name(model: BundleModelOf[D]) -> str:
    return f"{model.name} ({model.digest[:12]})"


def _by_digest(models: dict[Path, BundleModelOf[D]]) -> dict[str, BundleModelOf[D]]:
    return {model.digest: model for model in models.values()}
