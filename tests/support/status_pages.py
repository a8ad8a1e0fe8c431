"""A status page that listens on a loopback port, with a fleet of devices that exist in its memory only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from cloud_server.fleet.fleet import Fleet, SessionWatch
from cloud_server.status_page.access import Access
from cloud_server.status_page.facts import Bundle, Gauge, ServerFacts
from cloud_server.status_page.site import listening
from splitnet.detections import Detections
from splitnet.device_status import DeviceDecision, DeviceLogLine, DeviceStatus, FrameCounts
from splitnet.messages import FrameDetections, ServerTiming
from tests.support.fake_model import frame

TOKEN = "a-token-that-cannot-be-guessed"
HOSTILE = '<img src=x onerror="document.title=1">\x1b[2J"} 1\nslimsplit_evil 1'
ANSWER = FrameDetections(1, 1, Detections.empty(), ServerTiming(10.0, 5.0, 35.0))
PREVIEW = b"\xff\xd8\xff preview"


def facts_of(fleet: Fleet) -> ServerFacts:
    return ServerFacts(
        "slimsplit test",
        "edge-node:50051",
        fleet,
        lambda: 3,
        lambda: {1: 5, 4: 2},
        lambda: [Bundle("coco-nano", "ab" * 32, 6.5)],
        lambda: [Gauge("certificate_days", "Days", 12.0), Gauge("guesses", "Wrong codes", 4, is_counter=True)],
    )


def add_device(fleet: Fleet, now: float, name: str = "camera-1") -> SessionWatch:
    """Add a device that has sent a frame and says that half of its frames are late."""
    watch = fleet.opened(now - 2, name, "ipv4:192.0.2.7", f"session of {name}", "coco-nano", "ab" * 32)
    watch.frame(now - 2, frame(1, b"seven b"))
    watch.answer(now - 2, ANSWER, deadline_ms=100)
    decision = DeviceDecision(7, "w4 q5", "most accurate in time", 90.0)
    line = DeviceLogLine(1_700_000_000_000, "warning", "the camera is gone")
    watch.reported(now - 2, DeviceStatus("slimsplit 1", "Raspberry Pi 5", 1.0, point="w4 q5", deadline_ms=200))
    watch.reported(
        now,
        DeviceStatus(
            "slimsplit 1",
            "Raspberry Pi 5",
            3.0,
            FrameCounts(21, 6, 4, 6, 3, 1),
            point="w4 q5",
            deadline_ms=200,
            latency_p50_ms=120,
            latency_p95_ms=250,
            decisions=(decision,),
            log=(line,),
            preview=PREVIEW,
        ),
    )
    return watch


@dataclass
class Client:
    """Takes whole answers."""

    session: aiohttp.ClientSession

    async def get(self, path: str, **options: Any) -> aiohttp.ClientResponse:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, **options: Any) -> aiohttp.ClientResponse:
        return await self.ask("POST", path, **options)

    async def ask(self, method: str, path: str, **options: Any) -> aiohttp.ClientResponse:
        async with self.session.request(method, path, **options) as answer:
            if answer.content_type != "text/event-stream":
                await answer.read()
        return answer


@dataclass
class Page:
    """A page that listens, and a client."""

    fleet: Fleet
    session: aiohttp.ClientSession
    address: str

    @property
    def http(self) -> Client:
        return Client(self.session)


@asynccontextmanager
async def page(token: str | None = None) -> AsyncIterator[Page]:
    """Yield a page on a port of its own."""
    fleet = Fleet()
    fleet.is_serving = True
    async with listening(facts_of(fleet), Access(token), "127.0.0.1", 0) as address:
        jar = aiohttp.CookieJar(unsafe=True)  # of an address without a name
        async with aiohttp.ClientSession(f"http://{address}", cookie_jar=jar) as http:
            yield Page(fleet, http, address)
