"""Which model a run begins with, and who changes it: what was delivered, or what came with the software.

A device that has none, or one that its server does not take, gets one first.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import cycle
from typing import TypeVar

from edge_client.build import LoadedModel, load_model
from edge_client.class_names import ClassNames
from edge_client.config import RunConfig
from edge_client.delivery.model_state import CURRENT, PREVIOUS, Model, Outcome
from edge_client.delivery.model_store import ModelStore
from edge_client.delivery.obtaining import Obtainer
from edge_client.delivery.pacing import BackgroundPace
from edge_client.delivery.trial import TrialLimits
from edge_client.delivery.trust_settings import NOBODY, TrustSettings, ensure_root
from edge_client.delivery.updater import Updater
from edge_client.pipeline_parts import ModelParts
from edge_client.transport.credentials import Credentials
from edge_client.transport.delivery import Delivery, open_delivery
from edge_client.transport.identity import MAX_ROOT_BYTES
from edge_client.transport.servers import server_list
from edge_client.transport.tls_files import tls_files
from splitnet.backoff import Backoff
from splitnet.errors import BundleError, ConfigError, LinkError, SplitError, UpdateError
from splitnet.operating_point import Mode
from splitnet.regular_file import read_regular
from splitnet.settings import DEFAULT_BUNDLE
from splitnet.updates.applying import digest_of, form_of
from splitnet.updates.artefact import FOR_ONNX, FOR_TORCH, MAX_FILE_BYTES, SELF_TEST_FILE, Artefact
from splitnet.updates.delivery import DeviceState, Offer, Phase
from splitnet.updates.signed_list import FIRST_ROOT, fingerprint

QUICK_S = 4.0  # for the server to say whether it takes the model that is here

logger = logging.getLogger(__name__)

T = TypeVar("T")
Progress = Callable[[str], None]


@dataclass
class DeliveredRun:
    """The settings of a run with the model that it begins with, and what keeps that as the server wants it."""

    config: RunConfig
    updater: Updater[ModelParts] | None = None
    names: ClassNames | None = None
    _first: LoadedModel | None = None

    def begin(self, model: LoadedModel, names: ClassNames) -> None:
        """Learn what the pipeline begins with, and the names that all sinks use."""
        self._first, self.names = model, names
        if self.updater is not None:
            self.updater.start_with(model.parts)

    def load(self, model: Model, artefact: Artefact) -> ModelParts:
        """Make a model ready to run beside the one that runs, and test it. Raises UpdateError, BundleError."""
        loaded = load_model(replace(self.config, bundle=model.folder), costs_as=self._first)
        _test(loaded, model, artefact)
        return loaded.parts


def prepare(config: RunConfig, show: Progress) -> DeliveredRun:
    """Return how a run begins. Gets a model first where there is none; raises ConfigError where that cannot be.

    show: takes a line of progress.
    """
    servers = server_list(config.server)
    if (
        config.group
        or config.bundle != DEFAULT_BUNDLE
        or not servers
        or config.no_updates
        or config.mode == Mode.LOCAL.value
    ):
        return DeliveredRun(config)
    settings = TrustSettings(config.models, config.trust, config.trust_on_first_use, int(config.models_mb * 1e6))
    return asyncio.run(_Preparation(config, settings, servers, show).run())


class _Preparation:
    def __init__(self, config: RunConfig, settings: TrustSettings, servers: tuple[str, ...], show: Progress) -> None:
        self._config, self._settings, self._servers, self._show = config, settings, servers, show
        self._credentials = Credentials(tls_files(config))
        self._server = servers[0]
        self._forms = (FOR_TORCH,) if find_spec("torch") is not None else (FOR_ONNX,)

    async def run(self) -> DeliveredRun:
        has_default = DEFAULT_BUNDLE.is_dir() and self._forms == (FOR_TORCH,)
        trusted, root = self._settings.pinned(self._server, self._config.identity)
        if not trusted:
            trusted, root = await self._first_use(has_default)
        if not trusted:
            if has_default:
                return DeliveredRun(self._config)
            raise ConfigError(NOBODY)
        store = self._settings.store(trusted)
        self._settings.remember(trusted)
        if not store.own():
            logger.info("another run on this device keeps its models up to date")
            return DeliveredRun(self._begun_with(_usable(store), has_default))
        return await self._owned(store, trusted, root, has_default)

    async def _owned(self, store: ModelStore, trusted: str, root: bytes | None, has_default: bool) -> DeliveredRun:
        model = _usable(store)
        if model is None and has_default:
            model = Model(DEFAULT_BUNDLE, digest_of(DEFAULT_BUNDLE), 0, FOR_TORCH)
        model = await self._served(store, trusted, root, model)
        run = DeliveredRun(self._begun_with(model, has_default))
        device_id, limits = self._config.device_id, TrialLimits(seconds=self._config.trial_s)
        run.updater = Updater(
            store, trusted, root, device_id, self._forms, model, lambda: self._open(), run.load, limits
        )
        return run

    def _begun_with(self, model: Model | None, has_default: bool) -> RunConfig:
        if model is not None:
            return replace(self._config, bundle=model.folder)
        if not has_default:
            raise ConfigError("another run is getting this device's first model: start again when it has it")
        return self._config

    def _open(self) -> AbstractAsyncContextManager[Delivery]:
        return open_delivery(self._server, self._config.use_proxy, self._credentials)

    async def _first_use(self, has_default: bool) -> tuple[str, bytes | None]:
        """Trust whom the server names, if the user has asked for that."""
        if not self._config.trust_on_first_use:
            return "", None

        root = await self._asked(_root_of, must_come=not has_default)
        if root is None:
            return "", None
        logger.warning("from now on this device takes models signed by %s", fingerprint(root))
        return fingerprint(root), root

    async def _served(self, store: ModelStore, trusted: str, root: bytes | None, model: Model | None) -> Model:
        """Return a model that the server takes, as far as it can be asked now."""

        async def ask(delivery: Delivery) -> Model | None:
            if not store.state.trust().root:
                ensure_root(store, trusted, root or await _root_of(delivery))
            digest, version = ("", 0) if model is None else (model.digest, model.version)
            delivery.say(DeviceState(self._config.device_id, self._forms, digest, version))
            offer = await asyncio.wait_for(delivery.offer(), QUICK_S)
            if offer.is_served and model is not None:
                return None
            return await self._first_model(delivery, offer, store, model)

        found = await self._asked(ask, must_come=model is None)
        if found is not None:
            return found
        if model is None:
            raise ConfigError(f"{self._server} gives no model for this device: see `cloud-server bundle sign` there")
        return model

    async def _first_model(
        self, delivery: Delivery, offer: Offer, store: ModelStore, base: Model | None
    ) -> Model | None:
        if not offer.version or (base is not None and offer.version <= base.version):
            return None
        obtainer = Obtainer(store, self._forms)
        goal = await obtainer.goal(delivery, offer.version, base)
        model = store.installed(goal.artefact)
        if model is None:
            self._show(f"getting {goal.artefact.name}, version {goal.artefact.version}: {goal.route.in_words}")
            pace = BackgroundPace(is_alone=True)
            model = await obtainer.obtain(delivery, goal, base, pace, self._show_bytes)
        _test(load_model(replace(self._config, bundle=model.folder, deadline_ms=0, mode=None)), model, goal.artefact)
        store.state.commit(model, Outcome(Phase.COMMITTED, goal.artefact.target))
        return model

    def _show_bytes(self, done: int, total: int) -> None:
        self._show(f"getting the model: {done / 1e6:.1f} of {total / 1e6:.1f} MB")

    async def _asked(self, ask: Callable[[Delivery], Awaitable[T | None]], must_come: bool) -> T | None:
        """Return what a server answers; None if none does, unless it must come: then it is waited for."""
        backoff, told = Backoff(random.random, ceiling_s=10.0), ""
        for server in cycle(self._servers):
            self._server = server
            try:
                async with self._open() as delivery:
                    return await ask(delivery)
            except (LinkError, asyncio.TimeoutError) as error:
                if not must_come and server == self._servers[-1]:
                    return None
                if str(error) != told:
                    told = str(error)
                    logger.warning("no link to %s for this device's first model, trying again: %s", server, error)
            except SplitError as error:
                if must_come:
                    raise
                logger.warning("no models from %s: %s", server, error)
                return None
            await asyncio.sleep(backoff.next_delay_s())
        return None


async def _root_of(delivery: Delivery) -> bytes | None:
    return await asyncio.wait_for(delivery.whole(FIRST_ROOT, MAX_ROOT_BYTES), QUICK_S)


def _usable(store: ModelStore) -> Model | None:
    """Return the current model, or the one before if that is damaged."""
    for slot in (CURRENT, PREVIOUS):
        model = store.state.in_slot(slot)
        if model is None:
            continue
        try:
            if form_of(model.folder) == model.form and digest_of(model.folder) == model.digest:
                return model
        except BundleError as error:
            logger.warning("model %s is damaged: %s", model.folder.name, error)
    return None


def _test(loaded: LoadedModel, model: Model, artefact: Artefact) -> None:
    """Run the self-test that came with a model, if one did. Raises UpdateError."""
    if artefact.self_test is None:
        return
    try:
        expected = read_regular(model.folder / SELF_TEST_FILE, MAX_FILE_BYTES)
    except OSError as error:
        raise UpdateError(f"the self-test of model {model.folder.name} cannot be read ({error.strerror})") from error
    share = loaded.parts.encoder.self_test(artefact.self_test, expected)
    logger.info("self-test of model %s: %.2f %% of its symbols are equal", model.folder.name, 100 * share)
