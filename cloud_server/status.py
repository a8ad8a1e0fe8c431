"""The status page of a daemon: what it is told of server, engine and bundles."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from cloud_server.cluster.cluster import Cluster
from cloud_server.config import ServeConfig, split_address
from cloud_server.engine import Engine
from cloud_server.fleet.fleet import Fleet
from cloud_server.registry import Registry
from splitnet.environment import version

logger = logging.getLogger(__name__)


class Watched(Protocol):
    """A server, as far as its page is made of it."""

    fleet: Fleet

    @property
    def refused_calls(self) -> int:
        """Calls that were turned away."""

    @property
    def floods(self) -> int:
        """Floods that were cut."""

    def group_figures(self) -> Sequence[tuple[str, str, float, bool]]:
        """Figures of groups of devices, for the metrics: name, help, value, and whether it only grows."""

    @property
    def certificate_days(self) -> int | None:
        """Days until its certificate expires; None without one."""


@asynccontextmanager
async def status_page(
    config: ServeConfig, engine: Engine[Any], registry: Registry[Any], server: Watched, cluster: Cluster | None = None
) -> AsyncIterator[str | None]:
    """Serve the page while in this block, if there is to be one; yields its HOST:PORT.

    It is there before the daemon is ready, and says so. Raises ListenError, ConfigError.
    """
    if not config.status:
        yield None
        return
    from cloud_server.status_page.access import Access, read_token  # here: a daemon without it need not load aiohttp
    from cloud_server.status_page.facts import Bundle, Gauge, Replica, ServerFacts
    from cloud_server.status_page.site import listening

    def bundles() -> Sequence[Bundle]:
        return [Bundle(one.name, one.digest, one.memory_bytes / 1e6) for one in registry.models]

    def gauges() -> Sequence[Gauge]:
        refused = Gauge("calls_refused", "Calls that the gate has turned away", server.refused_calls, is_counter=True)
        floods = Gauge("floods", "Floods below gRPC that were cut", server.floods, is_counter=True)
        days = server.certificate_days
        return [
            refused,
            floods,
            *([] if days is None else [Gauge("certificate_days", "Days until TLS's expires", days)]),
            *([] if cluster is None else [Gauge(*figure) for figure in cluster.figures()]),
            *(Gauge(*figure) for figure in server.group_figures()),
        ]

    def replicas() -> Sequence[Replica] | None:
        return None if cluster is None else [Replica(*one) for one in cluster.replicas()]

    token = None if config.status_token_file is None else read_token(config.status_token_file)
    facts = ServerFacts(
        software=f"slimsplit {version()}",
        listen=config.listen,
        fleet=server.fleet,
        queue_depth=lambda: engine.depth,
        batch_sizes=lambda: engine.batch_sizes,
        bundles=bundles,
        gauges=gauges,
        replicas=replicas,
    )
    async with listening(facts, Access(token), *split_address(config.status, "--status")) as address:
        logger.info("status page", extra={"address": f"http://{address}/", "has_token": token is not None})
        yield address
