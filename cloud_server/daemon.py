"""The daemon's life: everything put together from its settings, from the first signal to the last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from cloud_server.access.entrance import Entrance, make_entrance
from cloud_server.access.gate import CallLimits
from cloud_server.cluster.cluster import Cluster, cluster_of
from cloud_server.compute.bundle_model import BundleModel, choose_device
from cloud_server.compute.group_model import GroupModel
from cloud_server.compute.tensor_store import TensorStore
from cloud_server.config import ServeConfig
from cloud_server.daemon_thread import in_daemon_thread
from cloud_server.delivery.repository import Repository, default_repository
from cloud_server.engine import Engine
from cloud_server.floods.flood_rule import FloodLimits
from cloud_server.http_detection import http_detection
from cloud_server.last_moment import LAST_S
from cloud_server.memory import ReturnedMemory, keep_giving_back
from cloud_server.registry import BundleModelOf, Registry
from cloud_server.reporting import reporting
from cloud_server.server import Server
from cloud_server.service import ServiceLimits
from cloud_server.session import OnDetections
from cloud_server.sharing import BundleSharing
from cloud_server.signals import EarlySignals, as_events
from cloud_server.status import status_page
from cloud_server.tunings import Tunings
from cloud_server.whichever_first import first_of
from splitnet.bundle import load_server
from splitnet.errors import SplitError
from splitnet.groups.group_bundle import load_group_server
from splitnet.groups.group_manifest import is_group
from splitnet.service_manager import READY, STOPPING, notify, show_life

logger = logging.getLogger(__name__)


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
        sharing = BundleSharing(config.plan, device, tunings, store, config.max_image_pixels)
        load = _loader(config, device, tunings, store, cluster)
        registry = Registry(
            engine, config.bundles, load, lambda: store.held_bytes, sharing if cluster is None else None
        )
        if cluster is not None:
            cluster.start(engine)
            stack.push_async_callback(asyncio.to_thread, cluster.stop)
        reporters = stack.enter_context(reporting(config))
        server = _server_of(config, engine, registry, entrance, reporters)
        page = await stack.enter_async_context(status_page(config, engine, registry, server, cluster))
        starting = asyncio.create_task(server.start())
        if not await first_of(starting, signals.stop.wait()):
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


def _loader(
    config: ServeConfig, device: torch.device, tunings: Tunings, store: TensorStore, cluster: Cluster | None
) -> Callable[[Path], BundleModelOf[Any]]:
    """Return what loads a bundle as these settings have it: of a group, on this machine, or for replicas."""

    def load(folder: Path) -> BundleModelOf[Any]:
        if is_group(folder):
            return GroupModel(load_group_server(folder), device, config.threads)
        tuning, most = tunings.of(folder), config.max_image_pixels
        model = BundleModel(load_server(folder), device, tuning, store=store, max_image_pixels=most)
        return model if cluster is None else cluster.model(model, folder)

    return load


def _server_of(
    config: ServeConfig,
    engine: Engine[Any],
    registry: Registry[Any],
    entrance: Entrance,
    on_detections: OnDetections | None,
) -> Server:
    """Return the server of these settings, not started."""
    return Server(
        engine,
        registry,
        config.listen,
        config.max_calls,
        entrance,
        CallLimits(config.max_calls_per_address, config.max_calls_per_device, config.max_calls_per_s),
        ServiceLimits(config.open_timeout_s, config.idle_timeout_s, config.max_image_pixels),
        on_detections,
        Repository(config.updates or default_repository()),
        FloodLimits(config.max_connections_per_address, config.flood_bar_s),
    )


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
