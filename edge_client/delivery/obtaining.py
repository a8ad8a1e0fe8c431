"""From an offer to a model on disk: whom to trust, the signed list, the way to it, the download, the installation."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_client.delivery.model_state import Model, Trust
from edge_client.delivery.model_store import ModelStore, files_of
from edge_client.delivery.pacing import BackgroundPace
from edge_client.threads import in_background
from edge_client.transport.delivery import Delivery
from splitnet.errors import BundleError, UntrustedError, UpdateError
from splitnet.updates.artefact import BUNDLE, UPDATE, Artefact, ArtefactFile
from splitnet.updates.delivery import FetchRequest
from splitnet.updates.route import Route, cheapest_route

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]  # bytes done, of how many


@dataclass(frozen=True)
class Goal:
    """A verified artefact, and how to get there."""

    artefact: Artefact
    route: Route
    trust: Trust
    without_updates: Route | None = None  # if updates do not give it; None: there is no such way, or that is the route


class Obtainer:
    """Gets models into a store, which this process owns."""

    def __init__(self, store: ModelStore, forms: Sequence[str], clock: Callable[[], float] = time.time) -> None:
        """Take the forms that this device can run, the best first. clock: seconds since 1970, as far as it knows."""
        self._store = store
        self._forms = forms
        self._clock = clock

    async def goal(self, delivery: Delivery, version: int, base: Model | None) -> Goal:
        """Return what an offered version is, by the signed list. base: what the device has.

        Raises UntrustedError if the list is not to be trusted or does not have it, or if it is older than what the
        device has had; LinkError.
        """
        from edge_client.delivery.trusted_list import refreshed  # here: urllib3 tries out a socket at its import

        loop = asyncio.get_running_loop()
        kept = self._store.state.trust()
        trust, artefacts = await in_background(
            lambda: refreshed(kept, lambda name: _pieces(loop, delivery, name), self._clock())
        )
        self._store.state.keep_trust(trust)
        mine = [one for one in artefacts if one.form in self._forms and one.version == version]
        if not mine:
            raise UntrustedError(f"version {version} is offered, but not in the signed list for this device")
        current = self._store.current
        newest = max(0 if current is None else current.version, 0 if base is None else base.version)
        if version <= newest:
            raise UntrustedError(f"version {version} is offered, but this device has had {newest}: refused")
        artefact = min(mine, key=lambda one: (self._forms.index(one.form), one.stored_bytes))
        held = await in_background(lambda: _held([one for one in artefacts if one.form == artefact.form], base))
        route = cheapest_route(artefacts, artefact, "" if base is None else base.digest, held)
        return Goal(artefact, route, trust, _without_updates(route, artefacts, artefact, held))

    async def obtain(
        self, delivery: Delivery, goal: Goal, base: Model | None, pace: BackgroundPace, progress: Progress
    ) -> Model:
        """Return the model of a goal, downloaded and installed.

        Updates that do not give it here, as where a file of the base is missing or damaged, are given up for the whole
        device half. Raises SplitError.
        """
        try:
            await self.download(delivery, goal, base, pace, progress)
            return await self.install(goal, base)
        except (UpdateError, BundleError) as error:
            if goal.without_updates is None:
                raise
            logger.warning("%s; the whole device half is fetched instead", error)
        whole = replace(goal, route=goal.without_updates, without_updates=None)
        await self.download(delivery, whole, base, pace, progress)
        return await self.install(whole, base)

    async def download(
        self, delivery: Delivery, goal: Goal, base: Model | None, pace: BackgroundPace, progress: Progress
    ) -> None:
        """Fetch what is missing, at a pace; what came before a cut is not fetched again. Raises SplitError."""
        files = [file for step in goal.route.steps for file in step.files]
        found = await in_background(lambda: self._found(goal.route.steps, base))
        missing = {file.stored_sha256: file for file in files if file.sha256 not in found}
        for step in goal.route.steps:
            self._store.check_room(step)
        total = sum(file.stored_bytes for file in missing.values())
        done = 0
        for file in missing.values():
            async for received in self._download(delivery, file, pace):
                progress(done + received, total)
            done += file.stored_bytes

    async def install(self, goal: Goal, base: Model | None) -> Model:
        """Return the model that was made of what was downloaded. Raises SplitError."""
        folder = None if base is None else base.folder

        def make() -> Model:
            found = self._found(goal.route.steps, base)
            model = self._store.install(list(goal.route.steps), folder, goal.trust, found, goal.artefact.version)
            self._store.clear(model.folder)
            return model

        return await in_background(make)

    def _found(self, steps: Sequence[Artefact], base: Model | None) -> dict[str, Path]:
        """Return which files are on this device already, by SHA-256."""
        folders = [model.folder for model in self._store.state.models()] + ([] if base is None else [base.folder])
        return {sha256: path for folder in folders for step in steps for sha256, path in files_of(folder, step).items()}

    async def _download(self, delivery: Delivery, file: ArtefactFile, pace: BackgroundPace) -> AsyncIterator[int]:
        """Yield how much has come, after each piece."""
        clock = asyncio.get_running_loop().time
        while not await in_background(lambda: self._store.has(file)):
            offset = self._store.received(file)
            yield offset
            if (wait_s := pace.wait_s(clock())) > 0:
                await asyncio.sleep(wait_s)
            asked_at, size = clock(), min(pace.piece_bytes, file.stored_bytes - offset)
            chunk = await delivery.fetch(FetchRequest(file.stored_sha256, offset, size))
            if chunk.is_missing or not chunk.data:
                raise UpdateError(f"the server has no {file.name} any more: sign it again")
            pace.received(asked_at, clock(), len(chunk.data))
            await asyncio.to_thread(self._store.receive, file, chunk.data)


def _without_updates(route: Route, artefacts: Sequence[Artefact], goal: Artefact, held: frozenset[str]) -> Route | None:
    """Return the way to a goal that no update is part of; None if it is the route, or there is none."""
    if all(step.kind != UPDATE for step in route.steps):
        return None
    try:
        return cheapest_route([one for one in artefacts if one.kind == BUNDLE], goal, "", held)
    except UpdateError:
        return None


def _held(artefacts: Sequence[Artefact], base: Model | None) -> frozenset[str]:
    """Return what need not be sent of artefacts, because the base has it."""
    if base is None:
        return frozenset()
    return frozenset(
        file.stored_sha256 for one in artefacts for file in one.files if file.sha256 in files_of(base.folder, one)
    )


def _pieces(loop: asyncio.AbstractEventLoop, delivery: Delivery, name: str) -> Iterator[bytes] | None:
    """Return a list of the server's piece by piece, in another thread than the loop's; None if there is none."""

    def ask(offset: int) -> bytes | None:
        asked = asyncio.run_coroutine_threadsafe(delivery.fetch(FetchRequest(name, offset)), loop)
        chunk = asked.result()
        return None if chunk.is_missing else chunk.data

    first = ask(0)
    return None if first is None else _rest(first, ask)


def _rest(first: bytes, ask: Callable[[int], bytes | None]) -> Iterator[bytes]:
    piece: bytes | None = first
    offset = 0
    while piece:
        yield piece
        offset += len(piece)
        piece = ask(offset)
