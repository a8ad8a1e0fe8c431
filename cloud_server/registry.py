"""The bundles that are served side by side: loaded, warmed up, replaced and retired while frames flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from cloud_server.engine import Engine
from cloud_server.job import Model
from splitnet.bundle_folders import bundles_in
from splitnet.errors import BundleError, BundleMismatchError, ProtocolError
from splitnet.groups.group_manifest import digest_in
from splitnet.manifest import FILE_NAME
from splitnet.messages import BundleDescription, FurtherBundle

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

    @property
    def plan(self) -> str:
        """The digest of the sharing plan that it is computed by; empty without one."""


class TaskModelOf(BundleModelOf[Any], Protocol):
    """A model of several bundles."""

    @property
    def further(self) -> tuple[FurtherBundle, ...]:
        """What a client must know of those behind the first."""


class Plan(Protocol):
    """A sharing plan that fits the bundles that are served."""

    @property
    def digest(self) -> str:
        """Its digest."""

    def merge_of(self, digest: str) -> object | None:
        """Return how a bundle is merged, None if it is not."""


class Sharing(Protocol[D]):
    """How bundles share, and are computed together."""

    def plan_for(self, served: Mapping[str, Path]) -> Plan | None:
        """Return the plan for bundles by digest, None if there is none. BundleError if it is broken or for others."""

    def load(self, folder: Path, plan: Plan) -> BundleModelOf[D]:
        """Load a bundle that a plan merges. BundleError as for any."""

    def together(self, models: Sequence[BundleModelOf[D]]) -> TaskModelOf:
        """Return what computes several bundles on the same frames."""


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
        sharing: Sharing[D] | None = None,
    ) -> None:
        """Take bundles or folders of bundles, the first of which is the default, and what loads one.

        held_bytes: says what the weights of all models together take, equal ones counted once. sharing: how bundles
        share and are computed together; without, each is for itself.
        """
        self._sharing = sharing
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

    def find_all(self, digest: str, further: Sequence[str]) -> tuple[BundleModelOf[Any], tuple[FurtherBundle, ...]]:
        """Return what computes a bundle and further ones on the same frames, and what a client must know of those.

        Raises BundleMismatchError as `find`, and ProtocolError if the default bundle is named as a further one.
        """
        first, others = self.find(digest), [self.find(one) for one in further]
        if first in others:
            raise ProtocolError(f"{first.name} is this server's default bundle: do not name it as a further one, too")
        if not others:
            return first, ()
        if any(one.description.parts for one in [first, *others]):
            raise ProtocolError("a group's bundle answers alone: leave the further bundles out")
        if self._sharing is None:
            raise ProtocolError("this server answers a session by one bundle: open one for each")
        model = self._sharing.together([first, *others])
        return model, model.further

    def refresh(self) -> Changes:
        """Look at the folders again: load what is new, retire what is gone, go on with the old where one is broken.

        New models are warm before the first session gets one; then all changes at once. Raises BundleError if
        nothing would be left; then nothing changes.
        """
        refused: list[str] = []
        found: dict[Path, BundleModelOf[D]] = {}
        folders = list(self._folders())
        plan = self._current_plan(folders, refused)
        for folder in folders:
            model = self._current(folder, plan, refused)
            if model is not None:
                found[folder] = model
        if not found:
            raise BundleError(refused[0] if refused else "no bundle is left: give one with --bundle")
        before, after = _by_kind(self._by_folder), _by_kind(found)
        self._by_folder = found
        loaded = [_name(model) for digest, model in after.items() if digest not in before]
        retired = [_name(model) for digest, model in before.items() if digest not in after]
        return Changes(tuple(loaded), tuple(retired), tuple(refused))

    def _folders(self) -> Iterator[Path]:
        for source in self._sources:
            yield from bundles_in(source) or [source]

    def _current_plan(self, folders: Sequence[Path], refused: list[str]) -> Plan | None:
        """Return the plan that fits what the folders hold now; none if it is refused."""
        served: dict[str, Path] = {}
        for folder in folders:
            with suppress(BundleError):  # it is refused when its turn comes
                served.setdefault(digest_in(folder), folder)
        try:
            return None if self._sharing is None else self._sharing.plan_for(served)
        except BundleError as error:
            refused.append(str(error))
            return None

    def _current(self, folder: Path, plan: Plan | None, refused: list[str]) -> BundleModelOf[D] | None:
        """Return what a folder holds now: the model that it had if it is the same, or if it is broken now."""
        old = self._by_folder.get(folder)
        try:
            digest = digest_in(folder)
            merging = plan if plan is not None and plan.merge_of(digest) is not None else None
            kind = digest, "" if merging is None else merging.digest
            same = next((model for model in self._by_folder.values() if (model.digest, model.plan) == kind), None)
            return same or self._new(folder, merging)
        except BundleError as error:
            refused.append(str(error))
            return old if (folder / FILE_NAME).exists() else None

    def _new(self, folder: Path, plan: Plan | None) -> BundleModelOf[D]:
        try:
            model = self._load(folder) if plan is None or self._sharing is None else self._sharing.load(folder, plan)
            self._engine.adopt(model)
        except RuntimeError as error:  # torch: no memory left on the device
            raise BundleError(f"{folder} cannot be run here: {error}") from error
        return model


def _name(model: BundleModelOf[D]) -> str:
    return f"{model.name} ({model.digest[:12]})"


def _by_kind(models: dict[Path, BundleModelOf[D]]) -> dict[tuple[str, str], BundleModelOf[D]]:
    return {(model.digest, model.plan): model for model in models.values()}
