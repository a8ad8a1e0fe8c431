"""A gRPC server around an engine: load, warm up, listen, serve, drain, stop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from cloud_server.access.enrolment_service import EnrolmentService
from cloud_server.access.entrance import Entrance, open_entrance
from cloud_server.access.gate import CallLimits, Gate
from cloud_server.config import MAX_CALLS, split_address
from cloud_server.daemon_thread import in_daemon_thread
from cloud_server.delivery.delivery_service import ModelDeliveryService
from cloud_server.delivery.repository import Repository
from cloud_server.engine import Engine
from cloud_server.fleet.fleet import Fleet
from cloud_server.floods.flood_guard import FloodGuard
from cloud_server.floods.flood_rule import FloodLimits
from cloud_server.floods.flows import Flows
from cloud_server.ports import SERVER_OPTIONS, bind, check_address
from cloud_server.reflection import enable_reflection
from cloud_server.registry import Changes, Registry
from cloud_server.service import ServiceLimits, SplitInferenceService
from cloud_server.session import OnDetections
from cloud_server.whichever_first import first_of
from protos import model_delivery_pb2
from protos import split_inference_pb2 as pb
from protos.device_enrolment_pb2_grpc import add_DeviceEnrolmentServicer_to_server
from protos.model_delivery_pb2_grpc import add_ModelDeliveryServicer_to_server
from protos.split_inference_pb2_grpc import add_SplitInferenceServicer_to_server
from splitnet.enrolment import EnrolReply
from splitnet.environment import version
from splitnet.errors import BundleError, ListenError

SERVICE_NAME: str = pb.DESCRIPTOR.services_by_name["SplitInference"].full_name
DELIVERY_NAME: str = model_delivery_pb2.DESCRIPTOR.services_by_name["ModelDelivery"].full_name
SERVED_NAMES = ("", SERVICE_NAME)  # what health reports on; "" is the whole server
FLUSH_S = 0.25  # for the last bytes of finished calls; then what is left (health watches) is cancelled
NOTICE_S = 1.0  # for each step of the shutdown that waits for others: one that stalls does not hold it up


class Server:
    """A gRPC server around an engine. `start` once, `stop` once."""

    def __init__(
        self,
        engine: Engine[Any],
        registry: Registry[Any],
        listen: str,
        max_calls: int = MAX_CALLS,
        entrance: Entrance | None = None,
        call_limits: CallLimits | None = None,
        session_limits: ServiceLimits | None = None,
        on_detections: OnDetections | None = None,
        repository: Repository | None = None,
        flood_limits: FloodLimits | None = None,
    ) -> None:
        """Take an engine that has not been started, a registry that has not loaded anything, and HOST:PORT.

        max_calls: sessions, single calls and health watches that may be open at once. entrance: whom to let in, if not
        everybody; call_limits, session_limits: what each may have, if not the usual. on_detections: who is told of
        answers. repository: signed models for devices. flood_limits: what an address may open, and send of no use.
        """
        self._max_calls = max_calls
        self._engine = engine
        self._registry = registry
        self._host, self._port = split_address(listen)
        self.fleet = Fleet()
        self._bundles_shown: set[str] = set()  # by health checks
        self._entrance = entrance or open_entrance()
        self._call_limits = call_limits or CallLimits()
        self._session_limits = session_limits or ServiceLimits()
        self._on_detections = on_detections
        self.enrol_address: str | None = None
        self._enrol_port: int | None = None
        self._flows = Flows()
        self._flood_guard = FloodGuard(self._flows, flood_limits or FloodLimits())
        self._gate: Gate | None = None
        self._repository = repository
        self._delivering: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Load, warm up, listen, and say so to health checks; returns the bound HOST:PORT.

        Raises BundleError if any bundle is broken, and ListenError.
        """
        loop = asyncio.get_running_loop()
        for host, port in self._addresses:  # before what may take long
            check_address(host, port)
        self._engine.start(loop.call_soon_threadsafe)
        changes = await self.refresh()
        if changes.refused:
            self._engine.stop()
            raise BundleError(changes.refused[0])
        try:
            port = self._listen()
        except ListenError:
            self._engine.stop()
            raise
        await self._grpc.start()
        self._flood_guard.start({port} if self._enrol_port is None else {port, self._enrol_port})
        if self._entrance.directory is not None:
            self._entrance.directory.start(lambda: loop.call_soon_threadsafe(self._service.expel))
        for name in SERVED_NAMES:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        await self._show_bundles()
        self.fleet.is_serving = True
        return f"{self._host}:{port}"

    def _listen(self) -> int:
        """Put the services behind the gate, and bind; returns the port of sessions. Raises ListenError."""
        self._service = SplitInferenceService(
            self._engine, self._registry, software(), self.fleet, self._session_limits, self._on_detections
        )
        self._health = health.aio.HealthServicer()
        protected = (f"/{SERVICE_NAME}/", f"/{DELIVERY_NAME}/")
        self._gate = Gate(self._entrance.callers, self._call_limits, protected, self._flows)
        self._grpc = grpc.aio.server(
            options=SERVER_OPTIONS,
            compression=grpc.Compression.NoCompression,
            maximum_concurrent_rpcs=self._max_calls,
            interceptors=[self._gate],
        )
        add_SplitInferenceServicer_to_server(self._service, self._grpc)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        names: tuple[str, ...] = (SERVICE_NAME, health.SERVICE_NAME)
        if self._repository is not None:
            names = (*names, DELIVERY_NAME)
            self._deliver(self._repository)
        enable_reflection(names, self._grpc)
        port = bind(self._grpc, self._host, self._port, self._entrance.credentials)
        if self._entrance.enrol_address is not None:
            self._enrol_at(*self._entrance.enrol_address, port)
        return port

    def _deliver(self, repository: Repository) -> None:
        """Serve signed models to devices."""
        delivery = ModelDeliveryService(repository, self._device_digests)
        add_ModelDeliveryServicer_to_server(delivery, self._grpc)  # type: ignore[no-untyped-call]
        self._delivering = asyncio.create_task(delivery.run())

    @property
    def who_may_come(self) -> str:
        """A line that says who can connect, and how."""
        return self._entrance.in_words(self._host, self.enrol_address)

    async def stop(self, grace_s: float, force: asyncio.Event) -> bool:
        """Drain for at most grace_s, or until forced, then stop; returns whether all sessions had ended."""
        await asyncio.wait({asyncio.ensure_future(self._health.enter_graceful_shutdown())}, timeout=NOTICE_S)
        self._service.drain(grace_s)
        drained = await first_of(self._service.wait_idle(), force.wait(), timeout_s=grace_s)
        self._service.end()
        self._flood_guard.stop()
        if self._delivering is not None:
            self._delivering.cancel()
        if self._entrance.directory is not None:
            self._entrance.directory.stop()
        await asyncio.wait({asyncio.ensure_future(self._grpc.stop(FLUSH_S))}, timeout=FLUSH_S + NOTICE_S)
        engine_stops = in_daemon_thread(lambda: self._engine.stop(NOTICE_S))
        await asyncio.wait({asyncio.ensure_future(engine_stops)}, timeout=2 * NOTICE_S)
        return drained

    async def refresh(self) -> Changes:
        """Look at the bundles again, while frames are served. Raises BundleError if none is left; the old ones stay."""
        try:
            changes = await in_daemon_thread(self._registry.refresh)
            if self.fleet.is_serving:
                await self._show_bundles()
            return changes
        except BundleError:
            if not self._registry.models:
                self._engine.stop()
            raise

    async def _show_bundles(self) -> None:
        """Tell health checks of each bundle, as SERVICE/NAME."""
        names = {f"{SERVICE_NAME}/{model.name}" for model in self._registry.models}
        for name in names | self._bundles_shown:
            answers = health_pb2.HealthCheckResponse
            await self._health.set(name, answers.SERVING if name in names else answers.NOT_SERVING)
        self._bundles_shown |= names

    def _device_digests(self) -> list[str]:
        return [model.device_digest for model in self._registry.models]

    @property
    def refused_calls(self) -> int:
        """Calls that the gate has turned away."""
        return 0 if self._gate is None else self._gate.refused.total()

    @property
    def floods(self) -> int:
        """Floods below gRPC that were cut."""
        return self._flood_guard.floods

    def group_figures(self) -> Sequence[tuple[str, str, float, bool]]:
        """Figures of groups of devices, for the metrics: name, help, value, and whether it only grows."""
        return self._service.groups.figures() if self.fleet.is_serving else ()

    @property
    def certificate_days(self) -> int | None:
        """Whole days until the certificate expires; None without one."""
        certificate = self._entrance.certificate
        return None if certificate is None else certificate.days_left

    @property
    def memory_mb(self) -> dict[str, float]:
        """What the weights of each bundle take."""
        return self._registry.memory_mb

    @property
    def held_mb(self) -> float:
        """What the weights of all bundles take together, equal ones counted once."""
        return self._registry.held_mb

    @property
    def _addresses(self) -> list[tuple[str, int]]:
        second = self._entrance.enrol_address
        return [(self._host, self._port), *([] if second is None else [second])]

    def _enrol_at(self, host: str, port: int, port_of_sessions: int) -> None:
        """Listen where devices are enrolled."""
        one = self._entrance
        bound = bind(self._grpc, host, port, one.enrol_credentials)
        self.enrol_address, self._enrol_port = f"{host}:{bound}", bound
        if one.folder is None or one.directory is None or one.certificate is None:
            return
        reply = EnrolReply("", port_of_sessions, one.authority, one.server_name)
        service = EnrolmentService(one.folder.store, one.directory, one.certificate, reply)
        add_DeviceEnrolmentServicer_to_server(service, self._grpc)  # type: ignore[no-untyped-call]


def software() -> str:
    """Return name and version of this software."""
    return f"slimsplit {version()}"
