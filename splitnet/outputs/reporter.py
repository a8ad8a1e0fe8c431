"""Reports in a thread of their own: whoever observes is never held up, whatever broker and webhook do."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splitnet.environment import version
from splitnet.errors import ConfigError
from splitnet.extras import missing_extra
from splitnet.outputs.change_feed import MAX_CAMERAS, FeedSettings, Observation
from splitnet.outputs.outbox import Outbox
from splitnet.outputs.outputs_config import NO_DISCOVERY, OutputsConfig, read_secret
from splitnet.outputs.reports import Reports
from splitnet.outputs.topics import Topics

if TYPE_CHECKING:
    from splitnet.outputs.mqtt import MqttPublisher
    from splitnet.outputs.webhook import Webhook

MAX_WAITING = 256  # observations; of more, the oldest are dropped
TICK_S = 1.0
CLOSE_S = 3.0  # for what is to be said at the end
FLUSH_S = 1.0

logger = logging.getLogger(__name__)


class Reporter:
    """Takes observations from any thread. `start` once, `close` once."""

    option = "the reports"

    def __init__(self, config: OutputsConfig, name: str, unix_clock: Callable[[], float] = time.time) -> None:
        """Take the settings and the name that is used where they give none.

        Raises ConfigError if a file cannot be read or written, or an extra is missing.
        """
        self.dropped = 0
        self._config, self._unix_clock = config, unix_clock
        self._software = f"SlimSplit {version()}"
        self.name = config.report_as or name
        self._outbox = Outbox() if config.mqtt_url else Outbox(max_events=1)  # that nobody fetches
        self._file = None if config.events_out is None else _opened(config.events_out)
        self._publisher: MqttPublisher | None = None
        self._webhook: Webhook | None = None
        self._watched: set[str] = set()
        self._waiting: deque[Observation] = deque(maxlen=MAX_WAITING)
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._ending = False
        self.reports = self._made(config)
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def observe(self, seen: Observation) -> None:
        """Take what a frame shows; returns at once."""
        self.dropped += len(self._waiting) == MAX_WAITING
        was_empty = not self._waiting
        self._waiting.append(seen)
        if was_empty:
            self._call(self._changed.set)

    def close(self) -> None:
        """Say what is still to be said, for a moment, and end."""
        if self._thread.ident is None:
            self._loop.close()
        else:
            self._call(self._end)
            self._thread.join(2 * (CLOSE_S + FLUSH_S))
        if self._file is not None:
            self._file.close()

    def _made(self, config: OutputsConfig) -> Reports:
        others = []
        try:
            if config.webhook_url:
                others.append(self._open_webhook(config))
            if self._file is not None:
                others.append(self._write)
            feed = FeedSettings(
                config.appear_s,
                config.gone_s,
                config.appear_score,
                frozenset(config.classes or ()),
                config.parsed_zones(),
            )
            topics = Topics(config.mqtt_topic, self.name)
            discovery = "" if config.mqtt_discovery == NO_DISCOVERY else config.mqtt_discovery
            reports = Reports(
                feed,
                secrets.token_hex(4),
                topics,
                self._outbox,
                self._software,
                discovery=discovery if config.mqtt_url else "",
                has_frames=config.mqtt_frames,
                others=others,
            )
            if config.mqtt_url:
                self._open_mqtt(config, reports)
        except ModuleNotFoundError as error:
            raise ConfigError(f"reports: {missing_extra(error, 'outputs')}") from error
        return reports

    def _open_mqtt(self, config: OutputsConfig, reports: Reports) -> None:
        from splitnet.outputs.mqtt import MqttPublisher  # here: an extra

        self._publisher = MqttPublisher(
            config.broker(),
            self._outbox,
            reports.topics.availability,
            reports.remembered,
            ca=config.mqtt_ca,
        )

    def _open_webhook(self, config: OutputsConfig) -> Callable[[Mapping[str, Any]], None]:
        from splitnet.outputs.webhook import Webhook  # here: an extra

        path = config.webhook_secret_file
        secret = None if path is None else read_secret("--webhook-secret-file", path)
        webhook = Webhook(config.webhook_url, secret, config.webhook_timeout_s, self._software)
        self._webhook = webhook
        return lambda event: webhook.put(json.dumps(event).encode())

    def _write(self, event: Mapping[str, Any]) -> None:
        assert self._file is not None
        try:
            self._file.write(json.dumps(event) + "\n")
        except (OSError, ValueError) as error:
            logger.warning("--events-out: the rest is lost, reports go on: %s", error)
            self._file.close()
            self._file = None

    def _call(self, function: Callable[[], None]) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function)

    # In the thread of the reports.

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._report())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        finally:
            self._loop.close()

    async def _report(self) -> None:
        outputs = [one.run() for one in (self._publisher, self._webhook) if one is not None]
        running = [asyncio.create_task(one) for one in outputs]
        await self._observe()
        self._take_all()
        await self._flush()
        await _cancelled(running)
        # What says goodbye to a broker that does not listen is not waited for any longer, nor left behind.
        await _cancelled([task for task in asyncio.all_tasks() if task is not asyncio.current_task()])

    def _end(self) -> None:
        self._ending = True
        self._changed.set()

    async def _observe(self) -> None:
        while not self._ending:
            self._take_all()
            self._guarded(lambda: self.reports.tick(self._unix_clock()))
            await self._watch_new_cameras()
            self._wake()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), TICK_S)
            self._changed.clear()

    def _take_all(self) -> None:
        while self._waiting:
            self._guarded(lambda: self.reports.observe(self._waiting.popleft()))
        self._wake()

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception:  # a fault here must not end the reports of the other frames
            logger.exception("this could not be reported")

    async def _watch_new_cameras(self) -> None:
        for camera in self.reports.cameras if self._publisher is not None else ():
            if camera not in self._watched and len(self._watched) < MAX_CAMERAS:
                self._watched.add(camera)
                assert self._publisher is not None
                await self._publisher.watch(self.reports.topics.counts_of(camera))

    def _wake(self) -> None:
        if self._publisher is not None:
            self._publisher.wake()

    async def _flush(self) -> None:
        """Give what waits a moment."""
        until = self._loop.time() + FLUSH_S
        connected = self._publisher is not None and self._publisher.is_connected
        while self._loop.time() < until and ((connected and len(self._outbox)) or self._has_due_delivery()):
            await asyncio.sleep(0.02)

    def _has_due_delivery(self) -> bool:
        return self._webhook is not None and self._webhook.queue.due(time.monotonic()) is not None


def _opened(path: Path) -> Any:
    try:
        return path.open("a", buffering=1, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); choose another --events-out") from error


async def _cancelled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and wait a moment for them to end."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CLOSE_S)
