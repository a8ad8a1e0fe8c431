"""Events by HTTP POST, signed, one after the other, again until they are taken."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import random
import time
from collections.abc import Callable

import aiohttp

from splitnet.backoff import Backoff
from splitnet.outputs.retry_queue import Delivery, RetryQueue
from splitnet.text import printable, without_secrets

SIGNATURE = "X-SlimSplit-Signature-256"
NUMBER = "X-SlimSplit-Delivery"
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0

logger = logging.getLogger(__name__)


def signature(secret: str, body: bytes) -> str:
    """Return the value of the header: "sha256=" and HMAC-SHA256 (RFC 2104) of the body, hexadecimal."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class Webhook:
    """Everything here runs in one event loop."""

    def __init__(
        self,
        url: str,
        secret: str | None,
        timeout_s: float,
        software: str,
        clock: Callable[[], float] = time.monotonic,
        backoff: Backoff | None = None,
    ) -> None:
        """Take the address, what to sign with, and how long an answer may take."""
        self.queue = RetryQueue(backoff or Backoff(random.random, FIRST_PAUSE_S, LONGEST_PAUSE_S))
        self._url, self._secret, self._timeout_s, self._software = url, secret, timeout_s, software
        self._clock = clock
        self._changed = asyncio.Event()
        self._is_failing = False

    def put(self, body: bytes) -> None:
        """Post a body as soon as it is its turn."""
        self.queue.put(self._clock(), body)
        self._changed.set()

    async def run(self) -> None:
        """Post until cancelled."""
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
            while True:
                self._changed.clear()
                while (delivery := self.queue.due(self._clock())) is not None:
                    await self._deliver(session, delivery)
                pause_s = self.queue.wait_s(self._clock())
                await (self._changed.wait() if pause_s is None else asyncio.sleep(pause_s))

    async def _deliver(self, session: aiohttp.ClientSession, delivery: Delivery) -> None:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": self._software,
            NUMBER: str(delivery.number),
        }
        if self._secret is not None:
            headers[SIGNATURE] = signature(self._secret, delivery.body)
        status, reason = None, ""
        try:
            async with session.post(self._url, data=delivery.body, headers=headers, allow_redirects=False) as answer:
                status, reason = answer.status, f"HTTP {answer.status}"
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            reason = printable(without_secrets(str(error))) or type(error).__name__
        verdict = self.queue.settle(self._clock(), delivery, status)
        self._say(verdict == "taken", verdict, reason)

    def _say(self, is_taken: bool, verdict: str, reason: str) -> None:
        if is_taken and self._is_failing:
            logger.warning("the webhook takes events again; %d were dropped", self.queue.dropped)
        elif not is_taken and not self._is_failing:
            logger.warning("the webhook does not take events (%s): %s", verdict, reason)
        self._is_failing = not is_taken
