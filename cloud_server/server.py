"""The daemon's life, as steps: load, warm up, listen, serve, drain, stop."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from cloud_server.access.enrolment_service import EnrolmentService
from cloud_server.access.entrance import Entrance, make_entrance, open_entrance
from cloud_server.access.gate import CallLimits, Gate
from cloud_server.cluster.cluster import cluster_of
from cloud_server.compute.bundle_model import BundleModel, choose_device
from cloud_server.compute.group_model import GroupModel
from cloud_server.compute.tensor_store import TensorStore
from cloud_server.config import MAX_CALLS, ServeConfig, split_address
from cloud_server.daemon_thread import in_daemon_thread
from cloud_server.delivery.delivery_service import ModelDeliveryService
from cloud_server.delivery.repository import Repository, default_repository
from cloud_server.engine import Engine
from cloud_server.fleet.fleet import Fleet
from cloud_server.floods.flood_guard import FloodGuard
from cloud_server.floods.flood_rule import FloodLimits
from cloud_server.floods.flows import Flows
from cloud_server.http_detection import http_detection
from cloud_server.last_moment import LAST_S
from cloud_server.memory import ReturnedMemory, keep_giving_back
from cloud_server.reflection import enable_reflection
from cloud_server.registry import BundleModelOf, Changes, Registry
from cloud_server.reporting import reporting
from cloud_server.service import ServiceLimits, SplitInferenceService
from cloud_server.session import OnDetections
from cloud_server.sharing import BundleSharing
from cloud_server.signals import EarlySignals, as_events
from cloud_server.status import status_page
from cloud_server.tunings import Tunings
from protos import model_delivery_pb2
from protos import split_inference_pb2 as pb
from protos.device_enrolment_pb2_grpc import add_DeviceEnrolmentServicer_to_server
from protos.model_delivery_pb2_grpc import add_ModelDeliveryServicer_to_server
from protos.split_inference_pb2_grpc import add_SplitInferenceServicer_to_server
from splitnet.bundle import load_server
from splitnet.enrolment import EnrolReply
from splitnet.environment import version
from splitnet.errors import BundleError, ListenError, SplitError
from splitnet.groups.group_bundle import load_group_server
from splitnet.groups.group_manifest import is_group
from splitnet.messages import KEEPALIVE_TIME_MS, KEEPALIVE_TIMEOUT_MS, MAX_MESSAGE_BYTES, MAX_REQUEST_BYTES
from splitnet.service_manager import READY, STOPPING, notify, show_life

logger = logging.getLogger(__name__)

SERVICE_NAME: str = pb.DESCRIPTOR.services_by_name["SplitInference"].full_name
DELIVERY_NAME: str = model_delivery_pb2.DESCRIPTOR.services_by_name["ModelDelivery"].full_name
SERVED_NAMES = ("", SERVICE_NAME)  # what health reports on; "" is the whole server
FLUSH_S = 0.25  # for the last bytes of finished calls; then what is left (health watches) is cancelled
NOTICE_S = 1.0  # for each step of the shutdown that waits for others: one that stalls does not hold it up

MAX_CONNECTIONS = 2000
MAX_STREAMS = 100  # of a connection, as HTTP/2 advises at least; further ones wait at the client

SERVER_OPTIONS = (
    ("grpc.max_concurrent_streams", MAX_STREAMS),
    # What is not read yet of a stream stays at 64 KiB. With probing, gRPC lets each connection have what its link
    # holds, which on a fast one is megabytes. A message that is being read gets its whole size all the same.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.server_handshake_timeout_ms", 10_000),  # a connection that says nothing
    ("grpc.max_connection_idle_ms", 300_000),  # one without calls
    ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
    ("grpc.so_reuseport", 0),  # a port in use is an error, not a silent half of the traffic
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_TIME_MS // 2),
)


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
            self._check_address(host, port)
        self._engine.start(loop.call_soon_threadsafe)
        changes = await self.refresh()
        if changes.refused:
            self._engine.stop()
            raise BundleError(changes.refused[0])
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
            delivery = ModelDeliveryService(self._repository, self._device_digests)
            add_ModelDeliveryServicer_to_server(delivery, self._grpc)  # type: ignore[no-untyped-call]
            self._delivering = asyncio.create_task(delivery.run())
        enable_reflection(names, self._grpc)
        port = self._bind(self._host, self._port, self._entrance.credentials)
        if self._entrance.enrol_address is not None:
            self._enrol_at(*self._entrance.enrol_address, port)
        await self._grpc.start()
        self._flood_guard.start({port} if self._enrol_port is None else {port, self._enrol_port})
        if self._entrance.directory is not None:
            self._entrance.directory.start(lambda: loop.call_soon_threadsafe(self._service.expel))
        for name in SERVED_NAMES:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        await self._show_bundles()
        self.fleet.is_serving = True
        return f"{self._host}:{port}"

    @property
    def who_may_come(self) -> str:
        """A line that says who can connect, and how."""
        return self._entrance.in_words(self._host, self.enrol_address)

    async def stop(self, grace_s: float, force: asyncio.Event) -> bool:
        """Drain for at most grace_s, or until forced, then stop; returns whether all sessions had ended."""
        await asyncio.wait({asyncio.ensure_future(self._health.enter_graceful_shutdown())}, timeout=NOTICE_S)
        self._service.drain(grace_s)
        drained = await _first(self._service.wait_idle(), force.wait(), timeout_s=grace_s)
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
        bound = self._bind(host, port, one.enrol_credentials)
        self.enrol_address, self._enrol_port = f"{host}:{bound}", bound
        if one.folder is None or one.directory is None or one.certificate is None:
            return
        reply = EnrolReply("", port_of_sessions, one.authority, one.server_name)
        service = EnrolmentService(one.folder.store, one.directory, one.certificate, reply)
        add_DeviceEnrolmentServicer_to_server(service, self._grpc)  # type: ignore[no-untyped-call]

    def _check_address(self, host: str, port: int) -> None:
        try:
            _try_bind(host, port)
        except OSError as error:
            raise self._cannot_listen(host, port) from error

    def _bind(self, host: str, port: int, credentials: grpc.ServerCredentials | None) -> int:
        try:
            self._check_address(host, port)
            if credentials is None:
                return self._grpc.add_insecure_port(f"{host}:{port}")
            return self._grpc.add_secure_port(f"{host}:{port}", credentials)
        except RuntimeError as error:
            raise self._cannot_listen(host, port) from error

    def _cannot_listen(self, host: str, port: int) -> ListenError:
        self._engine.stop()
        return ListenError(f"cannot listen on {host}:{port}: the port is taken, or the address is not of this machine")


async def serve(
    config: ServeConfig,
    announce: Callable[[str], None],
    early: EarlySignals,
    end_within: Callable[[float], None] = lambda _: None,
) -> bool:
    """Run the daemon until a signal, be it before it is ready; returns whether it ended with every session finished.

    announce: takes the line that says that the server is ready. early: signals of before. end_within: told, when a
    signal says to end, after how many seconds that is over whatever happens. Raises BundleError, ConfigError,
    ListenError.
    """
    device = choose_device(config.device)
    tunings, store = Tunings(config, device), TensorStore()
    entrance = make_entrance(config)
    async with AsyncExitStack() as stack:
        signals = stack.enter_context(as_events(early))
        cluster = cluster_of(config)
        lanes = 1 if cluster is None else cluster.lanes
        engine: Engine[Any] = Engine(config.max_batch_size, config.max_queue, config.decode_threads, lanes=lanes)

        def load(folder: Path) -> BundleModelOf[Any]:
            if is_group(folder):
                return GroupModel(load_group_server(folder), device, config.threads)
            tuning, most = tunings.of(folder), config.max_image_pixels
            model = BundleModel(load_server(folder), device, tuning, store=store, max_image_pixels=most)
            return model if cluster is None else cluster.model(model, folder)

        sharing = BundleSharing(config.plan, device, tunings, store, config.max_image_pixels)
        registry = Registry(
            engine, config.bundles, load, lambda: store.held_bytes, sharing if cluster is None else None
        )
        if cluster is not None:
            cluster.start(engine)
            stack.push_async_callback(asyncio.to_thread, cluster.stop)
        call_limits = CallLimits(config.max_calls_per_address, config.max_calls_per_device, config.max_calls_per_s)
        session_limits = ServiceLimits(config.open_timeout_s, config.idle_timeout_s, config.max_image_pixels)
        repository = Repository(config.updates or default_repository())
        reporters = stack.enter_context(reporting(config))
        flood_limits = FloodLimits(config.max_connections_per_address, config.flood_bar_s)
        limits = (config.max_calls, entrance, call_limits, session_limits, reporters, repository, flood_limits)
        server = Server(engine, registry, config.listen, *limits)
        page = await stack.enter_async_context(status_page(config, engine, registry, server, cluster))
        starting = asyncio.create_task(server.start())
        if not await _first(starting, signals.stop.wait()):
            end_within(LAST_S)
            engine.stop(timeout_s=0.0)  # what it loads or warms up is not waited for
            return True
        address = starting.result()
        images = await stack.enter_async_context(http_detection(config, engine, registry))
        tunings.may_measure = False
        memory = ReturnedMemory()
        memory.settle()
        _announce_ready(announce, server, registry, address, device.type, page, images)
        announce(f"cloud-server: {server.who_may_come}")
        notify(READY)
        refreshing = asyncio.create_task(_refresh_when_told(server, signals.refresh, memory.settle))
        beside = [asyncio.create_task(show_life()), asyncio.create_task(keep_giving_back(memory))]
        await signals.stop.wait()
        end_within(config.drain_grace_s + LAST_S)
        refreshing.cancel()
        notify(STOPPING)
        logger.info("draining", extra={"grace_s": config.drain_grace_s})
        drained = await server.stop(config.drain_grace_s, signals.force)
        for task in beside:
            task.cancel()
        logger.info("stopped", extra={"drained": drained, "batch_sizes": engine.batch_sizes})
    return drained


def _announce_ready(
    announce: Callable[[str], None],
    server: Server,
    registry: Registry[Any],
    address: str,
    device: str,
    page: str | None,
    images: str | None,
) -> None:
    """Say that the server is ready. On its own: `serve` must not hold the default bundle when another replaces it."""
    default = registry.models[0]
    others = f" and {len(registry.models) - 1} more" if len(registry.models) > 1 else ""
    weights = {"memory_mb": registry.memory_mb, "held_mb": registry.held_mb}
    facts = {"listen": address, "bundle": default.name, "device": device, **weights}
    facts["entrance"] = server.who_may_come
    logger.info("ready", extra=facts)
    announce(
        f"cloud-server ready: listening on {address}, bundle {default.name} ({default.digest[:12]}){others}, "
        f"device {device}"
        + (f", status page http://{page}/" if page else "")
        + (f", images by HTTP http://{images}/" if images else "")
    )


async def _refresh_when_told(server: Server, told: asyncio.Event, settle: Callable[[], None]) -> None:
    """Look at the bundles again at every SIGHUP. settle: called on a thread where some came or went."""
    while True:
        await told.wait()
        told.clear()
        try:
            changes = await server.refresh()
        except Exception as error:
            unexpected = None if isinstance(error, SplitError) else error
            said = "bundles refused, going on with the old ones"
            logger.error(said, extra={"reason": str(error)}, exc_info=unexpected)
        else:
            facts = {**asdict(changes), "memory_mb": server.memory_mb, "held_mb": server.held_mb}
            (logger.warning if changes.refused else logger.info)("bundles refreshed", extra=facts)
            if changes.loaded or changes.retired:
                await in_daemon_thread(settle)


def _try_bind(host: str, port: int) -> None:
    """Raise OSError if an address is not to be had: gRPC says so too, but not without a line of its own on stderr."""
    refused = OSError("no such address")
    for family, kind, protocol, _, place in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(place)
                return
            except OSError as error:
                refused = error
    raise refused


def software() -> str:
    """Return name and version of this software."""
    return f"slimsplit {version()}"


async def _first(wanted: Awaitable[object], other: Awaitable[object], timeout_s: float | None = None) -> bool:
    """Wait for either of two; returns whether the wanted one has finished."""
    tasks = [asyncio.ensure_future(wanted), asyncio.ensure_future(other)]
    done, pending = await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return tasks[0] in done
