"""Events to a real HTTP server: signed, in order, again after failures, and never for ever."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from splitnet.backoff import Backoff
from splitnet.outputs.webhook import NUMBER, SIGNATURE, Webhook, signature

PATIENCE_S = 30.0


class Receiver:
    """An HTTP server that answers as its script says, then 200."""

    def __init__(self, *script: int | str) -> None:
        self.script = list(script)
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.changed = asyncio.Event()
        self.end = asyncio.Event()

    async def take(self, request: web.Request) -> web.StreamResponse:
        self.got.append((dict(request.headers), await request.read()))
        self.changed.set()
        answer = self.script.pop(0) if self.script else 200
        if answer == "hang":
            await self.end.wait()
        if answer == "drip":
            response = web.StreamResponse()
            await response.prepare(request)
            await self.end.wait()
            return response
        return web.Response(status=int(answer), headers={"Location": "/elsewhere"})

    async def until(self, count: int) -> None:
        async def wait() -> None:
            while len(self.got) < count:
                self.changed.clear()
                await self.changed.wait()

        await asyncio.wait_for(wait(), PATIENCE_S)


@asynccontextmanager
async def receiving(receiver: Receiver) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/events", receiver.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/events"
    finally:
        receiver.end.set()
        await runner.cleanup()


@asynccontextmanager
async def posting(url: str, secret: str | None = None, timeout_s: float = 10.0) -> AsyncIterator[Webhook]:
    webhook = Webhook(url, secret, timeout_s, "SlimSplit test", backoff=Backoff(lambda: 0.0, 0.001, 0.002))
    running = asyncio.create_task(webhook.run())
    try:
        yield webhook
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async def poll() -> None:
        while not condition():
            await asyncio.sleep(0.001)

    await asyncio.wait_for(poll(), PATIENCE_S)


def test_the_signature_is_that_of_rfc_4231():  # test case 2
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert signature("Jefe", b"what do ya want for nothing?") == f"sha256={expected}"


async def test_an_event_is_posted_and_signed():
    receiver = Receiver()
    body = json.dumps({"type": "new"}).encode()
    async with receiving(receiver) as url, posting(url, "a long secret") as webhook:
        webhook.put(body)
        await receiver.until(1)
        await until(lambda: webhook.queue.delivered == 1)
    headers, got = receiver.got[0]
    assert got == body
    assert headers["Content-Type"] == "application/json"
    assert headers[SIGNATURE] == "sha256=" + hmac.new(b"a long secret", got, hashlib.sha256).hexdigest()
    assert headers["User-Agent"] == "SlimSplit test"


async def test_without_a_secret_nothing_is_signed():
    receiver = Receiver()
    async with receiving(receiver) as url, posting(url) as webhook:
        webhook.put(b"{}")
        await receiver.until(1)
    assert SIGNATURE not in receiver.got[0][0]


async def test_failures_are_tried_again_in_order_and_what_is_refused_is_not(caplog):
    receiver = Receiver(500, 429, 200, 400)
    async with receiving(receiver) as url, posting(url) as webhook:
        for body in (b"1", b"2", b"3"):
            webhook.put(body)
        await receiver.until(5)
        await until(lambda: not len(webhook.queue))
    assert [(headers[NUMBER], body) for headers, body in receiver.got] == [
        ("1", b"1"),
        ("1", b"1"),
        ("1", b"1"),
        ("2", b"2"),
        ("3", b"3"),
    ]
    assert (webhook.queue.delivered, webhook.queue.dropped) == (2, 1)
    assert "does not take events (later): HTTP 500" in caplog.text


async def test_a_webhook_that_hangs_is_given_up_and_tried_again():
    receiver = Receiver("hang", "drip")
    async with receiving(receiver) as url, posting(url, timeout_s=0.05) as webhook:
        webhook.put(b"{}")
        await receiver.until(2)
        await until(lambda: webhook.queue.delivered == 1)


async def test_a_redirect_is_not_followed():
    receiver = Receiver(302)
    async with receiving(receiver) as url, posting(url) as webhook:
        webhook.put(b"{}")
        await until(lambda: webhook.queue.dropped == 1)
    assert len(receiver.got) == 1


async def test_a_server_that_is_not_there_leaves_the_event_waiting():
    async with posting("http://127.0.0.1:1/events") as webhook:
        webhook.put(b"{}")
        await until(lambda: webhook.queue.wait_s(0.0) != 0.0)
        assert len(webhook.queue) == 1
