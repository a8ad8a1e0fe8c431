"""Keeps a running device's model as the server wants it: fetched in the background, tried, kept or taken back.

The words are those of Mender and RAUC: download, install, trial, commit, rollback. The frames go on meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from threading import Lock
from typing import Generic, Protocol, TypeVar

from edge_client.delivery.model_state import Model, Outcome
from edge_client.delivery.model_store import ModelStore
from edge_client.delivery.obtaining import Goal, Obtainer
from edge_client.delivery.pacing import BackgroundPace
from edge_client.delivery.trial import Figures, Trial, TrialLimits
from edge_client.delivery.trust_settings import MAX_ROOT_BYTES, ensure_root
from edge_client.frames import Fate
from edge_client.threads import in_background
from edge_client.transport.delivery import Delivery
from splitnet.backoff import Backoff
from splitnet.errors import BundleMismatchError, LinkError, OutputError, SplitError, UntrustedError
from splitnet.updates.artefact import Artefact
from splitnet.updates.delivery import DeviceState, Offer, Phase
from splitnet.updates.signed_list import FIRST_ROOT

LOOK_INTERVAL_S = 0.5  # at a trial
RETRY_S = 60.0  # after what may pass: a full disk, a server without models
AGAIN_S = 600.0  # after what somebody may mend: a clock, an expired list
LINK_RETRY_S = 5.0
PROGRESS_S = 1.0
LATE_LOOK_S = 0.2

logger = logging.getLogger(__name__)

OpenDelivery = Callable[[], AbstractAsyncContextManager[Delivery]]


Parts = TypeVar("Parts")
AnyParts = TypeVar("AnyParts", contravariant=True)


class Switching(Protocol[AnyParts]):
    """A pipeline, as far as its model can be changed."""

    @property
    def is_linked(self) -> bool:
        """Whether a session is open."""

    def switch(self, parts: AnyParts) -> int:
        """Go on with another model; returns the id of the last frame of the one before."""


class FateWatch:
    """Hears what becomes of every frame. A recorder (`sinks.Recorder`); from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._figures = Figures()
        self._trial: Trial | None = None
        self._last_before = -1
        self.late = 0  # frames

    def write(self, fate: Fate) -> None:
        """Take a frame's fate."""
        with self._lock:
            self.late += fate.outcome.value == "late"
            if fate.frame.frame_id <= self._last_before:
                return
            if self._trial is not None:
                self._trial.add(self._clock(), fate)
            else:
                self._figures.add(fate)

    def close(self) -> None:
        """Hear no more."""

    def begin(self, last_before: int, limits: TrialLimits) -> Trial:
        """Begin a trial with the frame after one; returns it."""
        with self._lock:
            self._last_before = last_before
            self._trial = Trial(self._figures, self._clock(), limits)
            return self._trial

    def end(self, last_before: int, stays: bool) -> None:
        """End the trial: what is known of the model that goes on is what the next one is compared with."""
        with self._lock:
            if stays and self._trial is not None:
                self._figures = self._trial.figures
            self._trial, self._last_before = None, last_before if not stays else self._last_before


class Updater(Generic[Parts]):
    """Follows the server's offers. Parts: whatever runs a model."""

    def __init__(
        self,
        store: ModelStore,
        trusted: str,
        root: bytes | None,
        device_id: str,
        forms: Sequence[str],
        running: Model,
        open_one: OpenDelivery,
        load: Callable[[Model, Artefact], Parts],
        limits: TrialLimits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take a store that this process owns, whom it trusts, and what the device runs.

        load: makes a model ready, self-test included, in a thread of low priority.
        """
        self._store, self._trusted, self._root = store, trusted, root
        self._open, self._load = open_one, load
        self._obtainer = Obtainer(store, forms, clock)
        self._limits = limits or TrialLimits()
        self._running = self._committed = running
        self._parts: Parts | None = None
        self.recorder = FateWatch()
        outcome = store.state.outcome()
        self._state = DeviceState(
            device_id, tuple(forms), running.digest, running.version, outcome.phase, outcome.target, outcome.reason
        )
        self._delivery: Delivery | None = None
        self._wanted = Offer(0)
        self._news = asyncio.Event()
        self._mismatch: SplitError | None = None
        self._may_help = True
        self._progress = (0, 0)
        self._pipeline: Switching[Parts] | None = None

    def start_with(self, parts: Parts) -> None:
        """Learn what the pipeline begins with."""
        self._parts = parts

    def forgives(self, error: SplitError) -> bool:
        """Return whether another model may make good for a server's refusal: then that is sought."""
        if not isinstance(error, BundleMismatchError) or not self._may_help:
            return False
        self._mismatch = error
        self._news.set()
        return True

    async def run(self, pipeline: Switching[Parts]) -> None:
        """Follow the server until cancelled."""
        self._pipeline = pipeline
        listening = asyncio.create_task(self._listen())
        try:
            await self._work()
        finally:
            listening.cancel()
            if self._running is not self._committed:
                self._store.state.drop_trial()
            self._store.release()

    # What the server says.

    async def _listen(self) -> None:
        backoff = Backoff(random.random, ceiling_s=30.0)
        said = ""
        while True:
            pause_s = RETRY_S
            try:
                async with self._open() as delivery:
                    await self._hear(delivery, backoff)
            except LinkError:
                pause_s = backoff.next_delay_s()
            except SplitError as error:
                self._may_help = False
                if str(error) != said:
                    said = str(error)
                    logger.info("no models from the server: %s", error)
            finally:
                self._delivery = None
            await asyncio.sleep(pause_s)

    async def _hear(self, delivery: Delivery, backoff: Backoff) -> None:
        root = self._root
        if root is None and not self._store.state.trust().root:
            root = await delivery.whole(FIRST_ROOT, MAX_ROOT_BYTES)
        ensure_root(self._store, self._trusted, root)
        delivery.say(self._state)
        while True:
            offer = await delivery.offer()
            backoff.reset()
            self._delivery, self._wanted = delivery, offer
            self._may_help = offer.is_served or offer.version > 0
            self._news.set()

    def _say(self, phase: Phase, target: str = "", reason: str = "", done: int = 0, total: int = 0) -> None:
        self._state = replace(
            self._state,
            digest=self._running.digest,
            version=self._committed.version,
            phase=phase,
            target=target,
            reason=reason,
            done_bytes=done,
            total_bytes=total,
        )
        if self._delivery is not None:
            self._delivery.say(self._state)

    # What is done about it.

    async def _work(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            offer = self._wanted
            if offer.version <= self._committed.version or self._delivery is None:
                continue
            refused = self._store.state.refusal(offer.version)
            if refused is not None:
                self._say(Phase.REFUSED, f"{offer.version}-{offer.name}", refused)
                continue
            await self._follow(offer)

    async def _follow(self, offer: Offer) -> None:
        """Get what is offered and try it. Everything that goes wrong leaves the model of before."""
        target = f"{offer.version}-{offer.name}"
        try:
            assert self._delivery is not None
            goal = await self._obtainer.goal(self._delivery, offer.version, self._running)
            target = goal.artefact.target
            await self._try(goal, await self._obtained(goal))
        except LinkError as error:
            logger.debug("waiting for the link: %s", error)  # the next attempt begins where this one has stopped
            asyncio.get_running_loop().call_later(LINK_RETRY_S, self._news.set)
        except OutputError as error:
            logger.warning("version %d cannot be kept: %s", offer.version, error)
            self._say(Phase.IDLE, target, str(error))
            asyncio.get_running_loop().call_later(RETRY_S, self._news.set)
        except SplitError as error:
            is_final = not isinstance(error, UntrustedError)  # a clock or a list can be mended
            logger.warning("version %d is refused: %s", offer.version, error)
            phase = Phase.REFUSED if is_final else Phase.IDLE  # after a restart
            self._store.state.refuse(offer.version, Outcome(phase, target, str(error)), is_final)
            self._may_help = False
            self._say(Phase.REFUSED, target, str(error))
            if not is_final:
                asyncio.get_running_loop().call_later(AGAIN_S, self._again)

    def _again(self) -> None:
        """Let the server offer anew what was refused."""
        self._say(Phase.IDLE)
        self._news.set()

    async def _obtained(self, goal: Goal) -> Model:
        """Return the model of a goal, which is on disk when this is done."""
        here = self._store.installed(goal.artefact)
        if here is not None:
            return here
        delivery = self._delivery
        if delivery is None:
            raise LinkError("the link is gone")
        logger.info("version %d of %s: %s", goal.artefact.version, goal.artefact.name, goal.route.in_words)
        pace = BackgroundPace()
        telling = asyncio.create_task(self._tell_progress(goal, pace))
        try:
            self._progress = (0, goal.route.sent_bytes)
            model = await self._obtainer.obtain(delivery, goal, self._running, pace, self._note_progress)
        finally:
            telling.cancel()
        self._say(Phase.INSTALLED, goal.artefact.target)
        return model

    def _note_progress(self, done: int, total: int) -> None:
        self._progress = (done, total)

    async def _tell_progress(self, goal: Goal, pace: BackgroundPace) -> None:
        clock = asyncio.get_running_loop().time
        told = -PROGRESS_S
        while True:
            pace.late(clock(), self.recorder.late)
            if clock() - told >= PROGRESS_S:
                told = clock()
                self._say(Phase.DOWNLOADING, goal.artefact.target, "", *self._progress)
            await asyncio.sleep(LATE_LOOK_S)

    async def _try(self, goal: Goal, model: Model) -> None:
        """Put a model to work and watch it; it is committed, or the one before comes back."""
        assert self._pipeline is not None and self._parts is not None
        while self._wanted.version == goal.artefact.version and self._wanted.is_halted:
            await self._news.wait()  # the rollout is paused
            self._news.clear()
        if self._is_withdrawn(goal.artefact.version):
            return
        parts = await in_background(lambda: self._load(model, goal.artefact))
        old_parts = self._parts
        await asyncio.to_thread(self._store.state.begin_trial, model)
        self._mismatch = None
        trial = self.recorder.begin(await asyncio.to_thread(self._pipeline.switch, parts), self._limits)
        logger.warning("model %s is on trial now", model.folder.name)
        self._running = model
        self._say(Phase.TRIAL, goal.artefact.target)
        reason = await self._judged(trial, goal.artefact.version)
        if not reason:
            self._parts, self._committed = parts, model
            self.recorder.end(0, stays=True)
            await asyncio.to_thread(self._store.state.commit, model, Outcome(Phase.COMMITTED, goal.artefact.target))
            logger.warning("model %s stays: its trial is over", model.folder.name)
            self._say(Phase.COMMITTED, goal.artefact.target)
            return
        self._running = self._committed
        self.recorder.end(await asyncio.to_thread(self._pipeline.switch, old_parts), stays=False)
        outcome = Outcome(Phase.ROLLED_BACK, goal.artefact.target, reason)
        await asyncio.to_thread(self._store.state.end_trial, goal.artefact.version, outcome, True)
        logger.warning("model %s is taken back: %s", model.folder.name, reason)
        self._say(Phase.ROLLED_BACK, goal.artefact.target, reason)

    async def _judged(self, trial: Trial, version: int) -> str:
        """Watch a trial; returns why the model has to go, nothing if it stays."""
        assert self._pipeline is not None
        clock = time.monotonic
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            if self._mismatch is not None:
                return f"the server does not take it: {self._mismatch}"
            if self._is_withdrawn(version):
                return "the rollout was taken back"
            verdict = trial.verdict(clock(), self._pipeline.is_linked)
            if verdict is not None:
                return verdict.reason

    def _is_withdrawn(self, version: int) -> bool:
        return self._delivery is not None and self._wanted.version < version
