"""The gRPC service that models reach devices by. Everything here runs on the event loop, and disks in threads."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import grpc

from cloud_server.access.callers import current_caller
from cloud_server.delivery.fleet_store import FleetStore, FleetView
from cloud_server.delivery.repository import Repository
from cloud_server.delivery.rollout import ABORTED, KnownDevice, Plan, Rollout
from protos import model_delivery_pb2 as pb
from protos.model_delivery_pb2_grpc import ModelDeliveryServicer
from splitnet.delivery_wire import (
    chunk_to_proto,
    fetch_request_from_proto,
    offer_to_proto,
    state_from_proto,
)
from splitnet.errors import ConfigError, DeadlineExceededError, ForbiddenError, ProtocolError, SplitError
from splitnet.updates.artefact import FORMS, Artefact
from splitnet.updates.delivery import Chunk, DeviceState, FetchRequest, Offer
from splitnet.wire.statuses import status_of

LOOK_INTERVAL_S = 1.0  # at rollouts, as commands change them
VOUCH_INTERVAL_S = 3600.0
FIRST_STATE_S = 10.0
NOTE_INTERVAL_S = 60.0  # that a device is still there
MAX_IDLE_S = 120.0  # of a stream of pieces
NOT_READY = ConfigError("this server gives no models: `cloud-server keys new` and `bundle sign` make it, see --updates")

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]


class _Watch:
    """A device that listens."""

    def __init__(self, state: DeviceState) -> None:
        self.state = state
        self.offered = Offer(0)
        self.changed = asyncio.Event()
        self.noted_at = -NOTE_INTERVAL_S


class ModelDeliveryService(ModelDeliveryServicer):
    """Offers versions, and hands files out. `run` as long as it serves."""

    def __init__(
        self,
        repository: Repository,
        served: Callable[[], list[str]],
        clock: Callable[[], float] = time.time,
        interval_s: float = LOOK_INTERVAL_S,
    ) -> None:
        """Take what is handed out, and the device digests of the bundles that are served, the default first."""
        self._repository = repository
        self._store = FleetStore(repository.path)
        self._served = served
        self._clock = clock
        self._interval_s = interval_s
        self._watches: dict[str, _Watch] = {}
        self._dirty: dict[str, tuple[DeviceState, int]] = {}
        self._view = FleetView([], {}, {})
        self._artefacts: list[Artefact] = []

    async def run(self) -> None:
        """Look at rollouts, write down what devices say, and vouch for the newest list, until cancelled."""
        next_vouch = 0.0
        while True:
            try:
                if self._repository.exists:
                    await self.look()
                if self._clock() >= next_vouch:
                    next_vouch = self._clock() + VOUCH_INTERVAL_S
                    await asyncio.to_thread(self._vouch)
            except ConfigError as error:
                logger.error("models cannot be given", extra={"reason": str(error)})
            await asyncio.sleep(self._interval_s)

    async def look(self) -> None:
        """Look once: write down what is new, read what commands have changed, and tell the devices that it concerns."""
        dirty, self._dirty = self._dirty, {}
        paused, self._view, self._artefacts = await asyncio.to_thread(self._exchange, dirty)
        for rollout in paused:
            logger.error("rollout paused: devices went back by themselves", extra={"version": rollout.version})
        for watch in self._watches.values():
            self._decide(watch)

    def _exchange(self, dirty: dict[str, tuple[DeviceState, int]]) -> tuple[list[Rollout], FleetView, list[Artefact]]:
        paused = self._store.note(dirty, self._clock()) if dirty else []
        return paused, self._store.view(), self._repository.artefacts()

    def _vouch(self) -> None:
        if self._repository.vouch(datetime.fromtimestamp(self._clock(), timezone.utc)):
            logger.info("signed list vouched for", extra={"until": self._repository.timestamp_expires().isoformat()})

    async def Watch(self, request_iterator: AsyncIterator[pb.DeviceState], context: Context) -> None:  # noqa: N802
        """Tell a device what it shall run."""
        try:
            watch = _Watch(await self._first_state(context))
            name = watch.state.device_id
            self._watches[name] = watch
            reading = asyncio.create_task(self._read(watch, context))
            try:
                await self.look()
                self._decide(watch, anew=True)
                await self._tell(watch, context, reading)
            finally:
                reading.cancel()
                if self._watches.get(name) is watch:
                    del self._watches[name]
        except SplitError as error:
            await context.abort(status_of(error), str(error))

    async def _first_state(self, context: Context) -> DeviceState:
        if not self._repository.exists:
            raise NOT_READY
        try:
            message = await asyncio.wait_for(context.read(), FIRST_STATE_S)
        except asyncio.TimeoutError:
            raise DeadlineExceededError(f"a device says what it runs within {FIRST_STATE_S:g} s") from None
        if message is grpc.aio.EOF:
            raise ProtocolError("the device has not said what it runs")
        return self._checked(message, context)

    def _checked(self, message: pb.DeviceState, context: Context) -> DeviceState:
        """Return a device's state under the name that it may have. Raises ProtocolError, ForbiddenError."""
        state, caller = state_from_proto(message), current_caller(context.peer())
        if caller.name is not None:
            caller.payer_of_session(state.device_id or caller.name)
            state = replace(state, device_id=caller.name)
        if not state.device_id:
            raise ProtocolError("a device says how it is called")
        return state

    async def _read(self, watch: _Watch, context: Context) -> None:
        """Take what a device says. Raises ProtocolError."""
        while (message := await context.read()) is not grpc.aio.EOF:
            before, state = watch.state, self._checked(message, context)
            if state.device_id != before.device_id:
                raise ForbiddenError("a device keeps its name")
            watch.state = state
            if (state.phase, state.target, state.version) != (before.phase, before.target, before.version):
                facts = {"device": state.device_id, "phase": state.phase.value, "target": state.target}
                level = logging.WARNING if state.phase.is_failure else logging.INFO
                logger.log(level, "model on device", extra={**facts, "reason": state.reason})
            self._note(watch)
            self._decide(watch)

    async def _tell(self, watch: _Watch, context: Context, reading: asyncio.Task[None]) -> None:
        while True:
            waiting = asyncio.create_task(watch.changed.wait())
            try:
                await asyncio.wait({waiting, reading}, return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    return reading.result()
            finally:
                waiting.cancel()
            watch.changed.clear()
            await context.write(offer_to_proto(watch.offered))

    def _decide(self, watch: _Watch, anew: bool = False) -> None:
        offer = self._plan().offer(watch.state)
        if anew or offer != watch.offered:
            if offer.version != watch.offered.version:
                facts = {"device": watch.state.device_id, "version": offer.version, "has": watch.state.version}
                logger.info("model offered", extra=facts)
            watch.offered = offer
            watch.changed.set()
            self._note(watch)
        elif self._clock() - watch.noted_at >= NOTE_INTERVAL_S:
            self._note(watch)

    def _note(self, watch: _Watch) -> None:
        watch.noted_at = self._clock()
        self._dirty[watch.state.device_id] = (watch.state, watch.offered.version)

    def _plan(self) -> Plan:
        served = self._served()
        devices = dict(self._view.devices)
        for name, (state, offered) in self._dirty.items():
            devices[name] = KnownDevice(state, self._clock(), offered)
        return Plan(self._view.rollouts, devices, self._view.groups, frozenset(served), self._initial(served))

    def _initial(self, served: list[str]) -> dict[str, tuple[int, str]]:
        """Return what devices begin with: the newest that is signed of the first bundle served for which there is one.

        Never what was aborted.
        """
        aborted = {rollout.version for rollout in self._view.rollouts if rollout.state == ABORTED}
        found: dict[str, tuple[int, str]] = {}
        for form in FORMS:
            for digest in served:
                fitting = (one for one in self._artefacts if (one.form, one.result) == (form, digest))
                first = next((one for one in fitting if one.version not in aborted), None)
                if first is not None:
                    found[form] = first.version, first.name
                    break
        return found

    async def Fetch(self, request_iterator: AsyncIterator[pb.FetchRequest], context: Context) -> None:  # noqa: N802
        """Hand out pieces of files."""
        try:
            while True:
                try:
                    message = await asyncio.wait_for(context.read(), MAX_IDLE_S)
                except asyncio.TimeoutError:
                    raise DeadlineExceededError("nothing was asked for in two minutes") from None
                if message is grpc.aio.EOF:
                    return
                request = fetch_request_from_proto(message)
                await context.write(chunk_to_proto(await asyncio.to_thread(self._piece, request)))
        except SplitError as error:
            await context.abort(status_of(error), str(error))

    def _piece(self, request: FetchRequest) -> Chunk:
        if request.file.endswith(".json"):
            whole = self._repository.metadata_file(request.file)
            data = None if whole is None else whole[request.offset : request.offset + request.max_bytes]
        else:
            data = self._repository.piece(request.file, request.offset, request.max_bytes)
        return Chunk(b"", is_missing=True) if data is None else Chunk(data)
