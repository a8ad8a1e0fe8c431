"""Messages to an MQTT broker: what waits in the outbox is told, and the broker is sought again when it has gone."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import aiomqtt

from splitnet.backoff import Backoff
from splitnet.errors import ConfigError
from splitnet.outputs.discovery import BIRTH_TOPIC
from splitnet.outputs.outbox import Outbox
from splitnet.outputs.outputs_config import Broker
from splitnet.text import printable, without_secrets

ONLINE, OFFLINE = "online", "offline"
KEEPALIVE_S = 20
TIMEOUT_S = 10.0  # of a connection, and of the broker's word that it has a message
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
MAX_INCOMING = 1000  # messages that wait to be looked at; further ones are dropped

logger = logging.getLogger(__name__)

Remembered = Callable[[str, str], None]


class MqttPublisher:
    """Everything here runs in one event loop."""

    def __init__(
        self,
        broker: Broker,
        outbox: Outbox,
        availability: str,
        on_retained: Remembered,
        *,
        ca: Path | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        """Take the broker, what to tell it, and the topic that says whether we are there.

        on_retained: called with topic and payload of what the broker remembers. Raises ConfigError if `ca` cannot be
        read.
        """
        self._broker, self._outbox, self._availability = broker, outbox, availability
        self._on_retained = on_retained
        self._tls = _context(ca) if broker.is_tls else None
        self._backoff = backoff or Backoff(random.random, FIRST_PAUSE_S, LONGEST_PAUSE_S)
        self._changed = asyncio.Event()
        self._filters: list[str] = []
        self._client: aiomqtt.Client | None = None
        self._told_of_failure = False

    @property
    def is_connected(self) -> bool:
        """Whether a broker listens."""
        return self._client is not None

    def wake(self) -> None:
        """Look into the outbox."""
        self._changed.set()

    async def watch(self, filters: Sequence[str]) -> None:
        """Learn what the broker remembers under topics, now and on every connection."""
        self._filters += filters
        if self._client is not None:
            with suppress(aiomqtt.MqttError):  # then the connection has gone, and comes again
                for one in filters:
                    await self._client.subscribe(one, qos=1, timeout=TIMEOUT_S)

    async def run(self) -> None:
        """Publish until cancelled; then say that we are gone."""
        while True:
            try:
                await self._serve()
            except (aiomqtt.MqttError, OSError) as error:
                self._client = None
                self._complain(error)
            await asyncio.sleep(self._backoff.next_delay_s())

    async def _serve(self) -> None:
        broker = self._broker
        async with aiomqtt.Client(
            broker.host,
            broker.port,
            username=broker.user or None,
            password=broker.password or None,
            will=aiomqtt.Will(self._availability, OFFLINE, qos=1, retain=True),
            timeout=TIMEOUT_S,
            keepalive=KEEPALIVE_S,
            tls_context=self._tls,
            max_queued_incoming_messages=MAX_INCOMING,
        ) as client:
            try:
                await self._begin(client)
                await _either(self._listen(client), self._publish(client))
            except asyncio.CancelledError:
                with suppress(aiomqtt.MqttError):
                    await client.publish(self._availability, OFFLINE, qos=1, retain=True, timeout=1.0)
                raise
            finally:
                self._client = None

    async def _begin(self, client: aiomqtt.Client) -> None:
        await client.publish(self._availability, ONLINE, qos=1, retain=True)
        self._outbox.connected()
        for one in (BIRTH_TOPIC, *self._filters):
            await client.subscribe(one, qos=1)
        self._client = client
        self._backoff.reset()
        if self._told_of_failure:
            logger.warning("connected to the MQTT broker again")
            self._told_of_failure = False

    async def _listen(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            payload = message.payload
            text = payload.decode(errors="replace") if isinstance(payload, bytes | bytearray) else str(payload)
            if str(message.topic) == BIRTH_TOPIC:
                if text == ONLINE and not message.retain:  # Home Assistant has started
                    self._outbox.connected()
            elif message.retain and text:
                self._on_retained(str(message.topic), text)
            self.wake()

    async def _publish(self, client: aiomqtt.Client) -> None:
        while True:
            self._changed.clear()
            while (message := self._outbox.next()) is not None:
                await client.publish(message.topic, message.payload, message.qos, message.retain, timeout=TIMEOUT_S)
                self._outbox.told(message)
            await self._changed.wait()

    def _complain(self, error: Exception) -> None:
        if not self._told_of_failure:
            self._told_of_failure = True
            reason = printable(without_secrets(str(error)))
            where = f"{self._broker.host}:{self._broker.port}"
            logger.warning("no MQTT broker at %s, it is asked again and again: %s", where, reason)


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"--mqtt-ca {ca} cannot be read ({error}): give a PEM file") from error


async def _either(*works: Awaitable[None]) -> None:
    """Run all until one ends or fails; what it raises is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
