"""Detection by HTTP on the server, for programs that know DeepStack or CodeProject.AI: ordinary images, no device."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from cloud_server.config import ServeConfig, split_address
from cloud_server.engine import Engine
from cloud_server.job import Answer
from cloud_server.registry import Registry
from cloud_server.scheduling.payer import Payer
from splitnet.codec.image_codec import compress_image
from splitnet.errors import BitstreamError, ShedError
from splitnet.image_file import decode_image
from splitnet.messages import Frame, FrameError
from splitnet.operating_point import Codec, OperatingPoint
from splitnet.outputs.outputs_config import read_secret

if TYPE_CHECKING:
    from splitnet.http_detection.site import Look

QUALITY = 95  # of JPEG, for images that come in another form
BEGINNINGS = {b"\xff\xd8": Codec.JPEG, b"RIFF": Codec.WEBP}
MAX_WAIT_MS = 10_000

logger = logging.getLogger(__name__)


@asynccontextmanager
async def http_detection(
    config: ServeConfig, engine: Engine[Any], registry: Registry[Any]
) -> AsyncIterator[str | None]:
    """Answer images by HTTP while in this block, if that is asked for; yields its HOST:PORT.

    The server must have loaded its bundles. Raises ListenError, ConfigError.
    """
    if not config.http:
        yield None
        return
    from splitnet.http_detection.site import DetectionSite, listening  # here: a daemon without it needs no aiohttp

    key = None if config.http_key_file is None else read_secret("--http-key-file", config.http_key_file)
    look = look_by(engine, registry, config.max_image_pixels)
    site = DetectionSite(look, lambda: _class_names(registry), registry.models[0].name, key)
    async with listening(site, "--http", *split_address(config.http, "--http")) as address:
        logger.info("detection by HTTP", extra={"address": f"http://{address}/", "has_key": key is not None})
        yield address


def look_by(engine: Engine[Any], registry: Registry[Any], max_pixels: int) -> Look:
    """Return who looks at image files by the default bundle. It raises BitstreamError, or ShedError."""
    from splitnet.http_detection.site import Looked

    numbers = itertools.count(1)

    async def look(data: bytes, address: str) -> Looked:
        codec, payload = await asyncio.to_thread(_as_payload, data, max_pixels)
        frame = Frame(next(numbers), 0, OperatingPoint(codec, 0, 0), payload, 0, 0, MAX_WAIT_MS, whole_image=True)
        answer = await _answer(engine, registry, frame, Payer(("address", address), "http"))
        if isinstance(answer, FrameError):
            raise (BitstreamError if answer.status.name == "INVALID_ARGUMENT" else ShedError)(answer.message)
        return Looked(answer.detections, "server")

    return look


async def _answer(engine: Engine[Any], registry: Registry[Any], frame: Frame, payer: Hashable) -> Answer:
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    job = engine.submit(registry.models[0], frame, lambda _, answer: answered.set_result(answer), payer)
    try:
        return await answered
    finally:
        engine.cancel(job)


def _as_payload(data: bytes, max_pixels: int) -> tuple[Codec, bytes]:
    """Return an image file as the engine takes it. Raises BitstreamError."""
    codec = next((codec for start, codec in BEGINNINGS.items() if data.startswith(start)), None)
    if codec is not None:
        return codec, data
    return Codec.JPEG, compress_image(decode_image(data, max_pixels), Codec.JPEG, QUALITY)


def _class_names(registry: Registry[Any]) -> tuple[str, ...]:
    return tuple(registry.models[0].description.class_names)
