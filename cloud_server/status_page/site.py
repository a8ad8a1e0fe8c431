"""The server's status over HTTP: a page for people, JSON and events for programs, metrics, health. One port."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from cloud_server.fleet.rows import details_of
from cloud_server.status_page.access import COOKIE, Access
from cloud_server.status_page.events import FIRST_LINE, MAX_STREAM_S, WRITE_TIMEOUT_S, Broadcaster
from cloud_server.status_page.facts import ServerFacts, overview
from cloud_server.status_page.metrics import exposition, metrics_of
from splitnet.http_listener import listening_at

logger = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
FILES = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js", "/icon.svg": "icon.svg"}
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
OPEN_PATHS = ("/healthz", "/readyz", "/login", "/page.css", "/icon.svg")  # which say nothing of devices
TICK_S = 1.0
MAX_FORM_BYTES = 8192
COOKIE_S = 12 * 3600
WRONG_TOKEN_S = 1.0  # the wait after a wrong one
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "slimsplit",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class StatusSite:
    """Answers requests about one server."""

    facts: ServerFacts
    access: Access
    clock: Callable[[], float] = time.monotonic
    moved: Callable[[object], None] = lambda protocol: None  # called when a viewer has taken an event

    def __post_init__(self) -> None:
        """Make what is shared by all requests."""
        self._registry = metrics_of(self.facts)
        self._logins = asyncio.Semaphore(1)
        self._grown: set[str] = set()  # devices whose history is longer than the last event has told
        self.broadcaster = Broadcaster(self._event)

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application(middlewares=[self._guard], client_max_size=MAX_FORM_BYTES)
        app.router.add_get("/healthz", self._alive)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/login", self._login_page)
        app.router.add_post("/login", self._login)
        app.router.add_get("/api/v1/devices", self._devices)
        app.router.add_get("/api/v1/devices/{id}", self._device)
        app.router.add_get("/api/v1/devices/{id}/preview.jpg", self._preview)
        app.router.add_get("/api/v1/events", self._events)
        for path in FILES:
            app.router.add_get(path, self._file)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.moved(request.protocol)
        if request.path not in OPEN_PATHS and not self.access.allows(request):
            response: web.StreamResponse = self._refusal(request)
        else:
            try:
                response = await handler(request)
            except web.HTTPException as error:
                response = web.Response(status=error.status, text=f"{error.reason}\n", headers=_location(error))
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def _refusal(self, request: web.Request) -> web.Response:
        if not self.access.has_token:
            text = "only programs of the server's own machine may read this; --status-token-file lets others in\n"
            return web.Response(status=403, text=text)
        if request.path == "/":
            return web.Response(status=303, headers={"Location": "/login"})
        text = "give the token: Authorization: Bearer TOKEN\n"
        return web.Response(status=401, text=text, headers={"WWW-Authenticate": "Bearer"})

    async def _alive(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, request: web.Request) -> web.Response:
        if self.facts.fleet.is_draining or not self.facts.fleet.is_serving:
            text = "draining\n" if self.facts.fleet.is_draining else "starting\n"
            return web.Response(status=503, text=text)
        return web.Response(text="ok\n")

    async def _metrics(self, request: web.Request) -> web.Response:
        content = exposition(self._registry)
        return web.Response(body=content, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _devices(self, request: web.Request) -> web.Response:
        return web.json_response(text=_to_json(overview(self.facts, self.clock())))

    async def _device(self, request: web.Request) -> web.Response:
        device = self.facts.fleet.find(request.match_info["id"])
        if device is None:
            raise web.HTTPNotFound
        return web.json_response(details_of(device, self.clock()))

    async def _preview(self, request: web.Request) -> web.Response:
        device = self.facts.fleet.find(request.match_info["id"])
        if device is None or not device.preview:
            raise web.HTTPNotFound
        return web.Response(body=device.preview, content_type="image/jpeg")

    async def _file(self, request: web.Request) -> web.Response:
        name = FILES[request.path]
        return web.Response(text=(STATIC / name).read_text("utf-8"), content_type=TYPES[name.partition(".")[2]])

    async def _login_page(self, request: web.Request) -> web.Response:
        return web.Response(text=(STATIC / "login.html").read_text("utf-8"), content_type="text/html")

    async def _login(self, request: web.Request) -> web.Response:
        form = await request.post()
        async with self._logins:  # guesses stand in a row
            if not self.access.knows(str(form.get("token", "")).strip()):
                await asyncio.sleep(WRONG_TOKEN_S)
                return web.Response(status=303, headers={"Location": "/login"})
        response = web.Response(status=303, headers={"Location": "/"})
        value, secure = self.access.cookie(), request.secure
        response.set_cookie(COOKIE, value, httponly=True, samesite="Strict", max_age=COOKIE_S, secure=secure)
        return response

    async def _events(self, request: web.Request) -> web.StreamResponse:
        queue = self.broadcaster.enter()
        if queue is None:
            raise web.HTTPServiceUnavailable
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        try:
            await response.prepare(request)
            await response.write(FIRST_LINE)
            await self._send_events(request, response, queue)
        except (ConnectionError, asyncio.TimeoutError):  # it has gone, or takes nothing
            if request.transport is not None:
                request.transport.abort()
        finally:
            self.broadcaster.leave(queue)
        return response

    async def _send_events(
        self, request: web.Request, response: web.StreamResponse, queue: asyncio.Queue[bytes | None]
    ) -> None:
        ends_at = self.clock() + MAX_STREAM_S
        while self.clock() < ends_at and (event := await queue.get()) is not None:
            await asyncio.wait_for(response.write(event), WRITE_TIMEOUT_S)
            self.moved(request.protocol)

    def _event(self, is_first: bool) -> str:
        """Return what the page shows. Histories, which grow every ten seconds, are told when they have."""
        shown = overview(self.facts, self.clock())
        histories = {device.id: list(device.history) for device in self.facts.fleet.devices}
        for row in shown["devices"]:
            if is_first or row["id"] in self._grown:
                row["history_fps"] = histories[row["id"]]
        if not is_first:
            self._grown.clear()
        return _to_json(shown)

    async def tick(self) -> None:
        """Sample the devices once a second, until cancelled."""
        while True:
            self._grown.update(device.id for device in self.facts.fleet.tick(self.clock()))
            await asyncio.sleep(TICK_S)


@asynccontextmanager
async def listening(facts: ServerFacts, access: Access, host: str, port: int) -> AsyncIterator[str]:
    """Answer requests at an address while in this block; yields its HOST:PORT. Raises ListenError if it is taken."""
    site = StatusSite(facts, access)
    async with listening_at(site.app(), "--status", host, port) as listener:
        site.moved = listener.connections.moved
        ticking = asyncio.create_task(site.tick())
        try:
            yield listener.address
        finally:
            ticking.cancel()
            site.broadcaster.close()


def _to_json(values: dict[str, Any]) -> str:
    return json.dumps(values, separators=(",", ":"))


def _location(error: web.HTTPException) -> dict[str, str]:
    return {"Location": error.headers["Location"]} if "Location" in error.headers else {}
