"""The command `edge-client frigate`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from edge_client.build import BuiltRun
from edge_client.console import Console
from edge_client.encoding.encoder import read_manifest
from edge_client.endpoint_command import serve_requests
from edge_client.frigate.settings_text import frigate_settings
from edge_client.frigate_config import FrigateConfig
from edge_client.requests.desk import Desk
from splitnet.errors import ConfigError
from splitnet.extras import missing_extra


def frigate(config: FrigateConfig, console: Console) -> None:
    """Answer Frigate's requests until the user ends it. Raises SplitError if it cannot begin, or fails."""
    if config.print_config:
        console.say(settings_for(config))
        return
    try:
        from edge_client.frigate.endpoint import FrigateEndpoint
    except ModuleNotFoundError as error:
        raise ConfigError(f"edge-client frigate: {missing_extra(error)}") from error
    desk = Desk(config.timeout_ms)
    endpoint = FrigateEndpoint(desk, config.pixel_format, config.min_score)
    address = endpoint.bind(config.listen)  # now: Frigate asks once for its model, and waits while a bundle is loaded

    @asynccontextmanager
    async def listening(built: BuiltRun) -> AsyncIterator[str]:
        serving = asyncio.create_task(endpoint.serve())
        try:
            yield address
        finally:
            serving.cancel()

    try:
        serve_requests(config, console, desk, listening)
    finally:
        endpoint.close()


def settings_for(config: FrigateConfig) -> str:
    """Return what to put into Frigate's settings for a bundle. Raises BundleError, ConfigError."""
    manifest = read_manifest(config.bundle)
    endpoint = config.listen.replace("://0.0.0.0:", "://ADDRESS-OF-THIS-MACHINE:")
    return frigate_settings(endpoint, manifest.class_names, manifest.input_size, config.pixel_format, config.timeout_ms)
