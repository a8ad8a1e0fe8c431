"""The command `edge-client http`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from edge_client.build import BuiltRun
from edge_client.config import address_of
from edge_client.console import Console
from edge_client.endpoint_command import serve_requests
from edge_client.http_config import HttpConfig
from edge_client.requests.desk import AnsweredBy, Desk
from splitnet.errors import ConfigError, ShedError
from splitnet.extras import missing_extra
from splitnet.image_file import decode_image
from splitnet.image_header import MAX_IMAGE_PIXELS
from splitnet.outputs.outputs_config import read_secret

if TYPE_CHECKING:
    from splitnet.http_detection.site import Look


def http(config: HttpConfig, console: Console) -> None:
    """Answer requests by HTTP until the user ends it. Raises SplitError if it cannot begin, or fails."""
    try:
        from splitnet.http_detection.site import DetectionSite, listening
    except ModuleNotFoundError as error:
        raise ConfigError(f"edge-client http: {missing_extra(error, 'http')}") from error
    key = None if config.key_file is None else read_secret("--key-file", config.key_file)
    desk = Desk(config.timeout_ms)

    @asynccontextmanager
    async def taking(built: BuiltRun) -> AsyncIterator[str]:
        manifest = built.encoder.manifest
        site = DetectionSite(look_at(desk), lambda: manifest.class_names, manifest.name, key)
        async with listening(site, "--listen", *address_of("--listen", config.listen)) as address:
            yield address

    serve_requests(config, console, desk, taking)


def look_at(desk: Desk) -> Look:
    """Return who looks at the bytes of an image file by a desk. It raises BitstreamError, or ShedError if late."""
    from splitnet.http_detection.site import Looked

    async def look(data: bytes, _: str) -> Looked:
        image = await asyncio.to_thread(decode_image, data, MAX_IMAGE_PIXELS)
        answer = await desk.ask(image)
        if answer.by is AnsweredBy.NOBODY:
            raise ShedError("nobody could look at the image in time")
        return Looked(answer.detections, answer.by.value)

    return look
