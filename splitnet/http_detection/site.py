"""An HTTP endpoint as DeepStack and CodeProject.AI have it: an image is posted, its objects are answered."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import BodyPartReader, hdrs, web

from splitnet.detections import Detections
from splitnet.errors import BitstreamError, SplitError
from splitnet.http_detection.predictions import USUAL_CONFIDENCE, failure, predictions, success
from splitnet.http_listener import listening_at

DETECTION, CUSTOM = "/v1/vision/detection", "/v1/vision/custom"
MAX_IMAGE_BYTES = 16 << 20
MAX_FIELD_BYTES = 4096
MAX_FIELDS = 16
BODY_S = 20.0  # that a body may take
MAX_AT_ONCE = 16  # requests whose images are held; further ones are refused
BUSY, TOO_LARGE, TOO_SLOW, WRONG_KEY, BAD, FAILED = 503, 413, 408, 401, 400, 500

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Looked:
    """What is in an image, in its pixels, and who has looked."""

    detections: Detections
    by: str


Look = Callable[[bytes, str], Awaitable[Looked]]  # at the bytes of an image file, for an address. Raises SplitError


class TooLargeError(SplitError):
    """What was posted is larger than is taken."""


class TooSlowError(SplitError):
    """What was posted takes too long: it holds a place that others need."""


class DetectionSite:
    """Answers requests."""

    def __init__(self, look: Look, class_names: Callable[[], Sequence[str]], name: str, key: str | None) -> None:
        """Take who looks, what is found, what the bundle is called, and the key that callers must give, if any."""
        self._look, self._class_names, self._name, self._key = look, class_names, name, key
        self._at_once = 0

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application(middlewares=[_guarded], client_max_size=MAX_IMAGE_BYTES + (1 << 16))
        app.router.add_post(DETECTION, self._detect)
        app.router.add_post(f"{CUSTOM}/list", self._list)
        app.router.add_post(f"{CUSTOM}/{{name}}", self._detect_custom)
        app.router.add_get("/v1/status/ping", self._ping)
        return app

    async def _ping(self, _: web.Request) -> web.Response:
        return web.json_response({"success": True, "message": "pong", "code": 200})

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response({"success": True, "models": [self._name], "code": 200})

    async def _detect_custom(self, request: web.Request) -> web.Response:
        if request.match_info["name"] != self._name:
            return _failed(f"there is one model here: {self._name}", 404)
        return await self._detect(request)

    async def _detect(self, request: web.Request) -> web.Response:
        if self._at_once >= MAX_AT_ONCE:
            return _failed("busy: send fewer images at once", BUSY)
        self._at_once += 1
        try:
            return await self._answer(request)
        finally:
            self._at_once -= 1

    async def _answer(self, request: web.Request) -> web.Response:
        begin = time.perf_counter()
        image, fields = await _in_time(_posted(request))
        if self._key is not None and not hmac.compare_digest(fields.get("api_key", "").encode(), self._key.encode()):
            return _failed("the field api_key is missing or wrong", WRONG_KEY)
        min_confidence = _confidence(fields.get("min_confidence"))
        if not image:
            return _failed("the form has no file called image", BAD)
        looked = await self._look(image, request.remote or "")
        found = predictions(looked.detections, self._class_names(), min_confidence)
        return web.json_response(success(found, (time.perf_counter() - begin) * 1000, looked.by))


@web.middleware
async def _guarded(request: web.Request, handler: Callable[[web.Request], Awaitable[Any]]) -> web.StreamResponse:
    """Answer errors as DeepStack does: JSON that says what is wrong."""
    try:
        response: web.StreamResponse = await handler(request)
        return response
    except TooLargeError as error:
        return _failed(str(error), TOO_LARGE)
    except TooSlowError as error:
        return _failed(str(error), TOO_SLOW)
    except BitstreamError as error:
        return _failed(f"the image cannot be read: {error}", BAD)
    except SplitError as error:
        return _failed(str(error), BUSY)
    except web.HTTPException as error:
        return _failed(error.reason, error.status)
    except (ConnectionError, asyncio.IncompleteReadError):
        raise
    except Exception:
        logger.exception("a request by HTTP failed")
        return _failed("this failed here; the log says why", FAILED)


def _failed(message: str, code: int) -> web.Response:
    return web.json_response(failure(message, code), status=code)


async def _in_time(posted: Awaitable[tuple[bytes, dict[str, str]]]) -> tuple[bytes, dict[str, str]]:
    try:
        return await asyncio.wait_for(posted, BODY_S)
    except asyncio.TimeoutError:
        raise TooSlowError(f"the image must be here within {BODY_S:g} s") from None


def _confidence(text: str | None) -> float:
    try:
        value = USUAL_CONFIDENCE if text is None else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise BitstreamError("min_confidence lies between 0 and 1")
    return value


async def _posted(request: web.Request) -> tuple[bytes, dict[str, str]]:
    """Return the image of a form, or of a plain body, and the form's text fields. Raises SplitError."""
    if (request.content_length or 0) > MAX_IMAGE_BYTES + (1 << 16):
        raise TooLargeError(f"images of up to {MAX_IMAGE_BYTES >> 20} MB are taken")
    if request.content_type == "application/x-www-form-urlencoded":  # a form without a file
        return b"", {}
    if not request.content_type.startswith("multipart/"):
        return await _bounded(request.content.readany, MAX_IMAGE_BYTES), {}
    image = b""
    fields: dict[str, str] = {}
    try:
        form = await request.multipart()
        while (part := await form.next()) is not None:
            if not isinstance(part, BodyPartReader) or part.headers.get(hdrs.CONTENT_ENCODING):
                raise BitstreamError("forms inside of forms and coded parts are not taken")
            if part.name in ("image", "file", "image1") and not image:
                image = await _bounded(part.read_chunk, MAX_IMAGE_BYTES)
            elif len(fields) < MAX_FIELDS:
                text = await _bounded(part.read_chunk, MAX_FIELD_BYTES)
                fields[part.name or ""] = text.decode("utf-8", "replace").strip()
            else:
                raise BitstreamError(f"a form has at most {MAX_FIELDS} fields besides its image")
    except (ValueError, AssertionError, RuntimeError) as error:
        raise BitstreamError("the body is not a form as its header says") from error
    return image, fields


async def _bounded(read: Callable[[], Awaitable[bytes]], most: int) -> bytes:
    found = bytearray()
    while chunk := await read():
        found += chunk
        if len(found) > most:
            raise TooLargeError(f"this is larger than {most} bytes")
    return bytes(found)


@asynccontextmanager
async def listening(site: DetectionSite, option: str, host: str, port: int) -> AsyncIterator[str]:
    """Answer requests at an address while in this block; yields its HOST:PORT. Raises ListenError."""
    async with listening_at(site.app(), option, host, port) as listener:
        yield listener.address
