"""Answers requests for detections within a time: by the pipeline, or, where that is late, by the device's own detector.

    desk = Desk(timeout_ms=200)
    built = build_run(config, [desk], source=desk.source)
    desk.open(built.local)
    running = asyncio.create_task(built.cameras.run())
    answer = await desk.ask(image)

Whoever asks gets an answer before the timeout in any case: if nobody could look in time, one without objects.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np

from edge_client.encoding.local_detector import LocalResult
from edge_client.frames import FrameResult, Image
from edge_client.requests.request_source import RequestSource
from splitnet.detections import Detections
from splitnet.operating_point import LOCAL

MAX_WAITING = 16  # requests; further ones are answered at once, without objects
MARGIN_MS = 25.0  # before the timeout: the answer has a way to go, and timers are late
REMEMBERED = 20  # times of the own detector
SLACK = 1.5  # times what the own detector took at most: then it may take that long
WARM_UP_SIDE = 320  # pixels


class AnsweredBy(str, Enum):
    """Who has looked at an image."""

    SERVER = "server"
    DEVICE = "device"  # as the policy has chosen
    RESCUE = "rescue"  # the device, since the server's answer was late
    NOBODY = "nobody"


@dataclass(frozen=True)
class Answer:
    """What was found in an image, in its pixels. pipeline_ms: of that, from capture to detections; 0 for others."""

    detections: Detections
    by: AnsweredBy
    pipeline_ms: float = 0.0


class LocalDetects(Protocol):
    """The device's own detector."""

    def detect(self, image: Image) -> LocalResult:
        """Find the objects in an image, from any thread."""
        ...


NOTHING = Answer(Detections.empty(), AnsweredBy.NOBODY)


class Desk:
    """Takes requests in the event loop, and results as a sink of the pipeline."""

    option = "the desk of requests"

    def __init__(
        self, timeout_ms: float, clock: Callable[[], float] = time.monotonic, rescuer: Executor | None = None
    ) -> None:
        """Take how long whoever asks waits. rescuer: where late images are looked at, if not in a thread."""
        self.source: RequestSource[int] = RequestSource()
        self.answers: Counter[AnsweredBy] = Counter()
        self._give_up_s = max(timeout_ms / 2, timeout_ms - MARGIN_MS) / 1000
        self._clock = clock
        self._tickets = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._local: LocalDetects | None = None
        self._local_s: deque[float] = deque(maxlen=REMEMBERED)
        self._rescuer = rescuer or ThreadPoolExecutor(1, thread_name_prefix="rescue")
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, local: LocalDetects | None) -> None:
        """Take requests from now on, in the running event loop. local: who answers what is late; measured here."""
        self._loop = asyncio.get_running_loop()
        self._local = local
        if local is not None:
            blank = np.zeros((WARM_UP_SIDE, WARM_UP_SIDE, 3), np.uint8)
            for _ in range(3):
                self._look(local, blank)

    def close(self) -> None:
        """Let the pipeline come to its end."""
        self.source.close()
        self._rescuer.shutdown(wait=False, cancel_futures=True)

    @property
    def local_ms(self) -> float | None:
        """What the own detector takes at most, of late; None without one."""
        return max(self._local_s) * 1000 if self._local_s else None

    async def ask(self, image: Image) -> Answer:
        """Return what is found in an image (H, W, 3) uint8 BGR."""
        answer = NOTHING if len(self._waiting) >= MAX_WAITING else await self._wait_for(image)
        self.answers[answer.by] += 1
        return answer

    async def _wait_for(self, image: Image) -> Answer:
        begun, ticket = self._clock(), next(self._tickets)
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[ticket] = answer
        self.source.put(ticket, image)
        try:
            rescue_s = self._rescue_s()
            if rescue_s is not None and not await self._settled(answer, begun + rescue_s):
                self._rescue(ticket, image)
            return answer.result() if await self._settled(answer, begun + self._give_up_s) else NOTHING
        finally:
            del self._waiting[ticket]
            self.source.withdraw(ticket)

    async def _settled(self, answer: asyncio.Future[Answer], until: float) -> bool:
        await asyncio.wait({answer}, timeout=max(0.0, until - self._clock()))
        return answer.done()

    def _rescue_s(self) -> float | None:
        """Return when the device must begin to look by itself, at what waits as well; None if it would be late, too."""
        if not self._local_s or max(self._local_s) > self._give_up_s:
            return None
        return max(0.0, self._give_up_s - SLACK * max(self._local_s) * len(self._waiting))

    def _rescue(self, ticket: int, image: Image) -> None:
        self._rescuer.submit(self._look_for, ticket, image)

    # In the rescuer's thread.

    def _look_for(self, ticket: int, image: Image) -> None:
        if self._local is not None and ticket in self._waiting:
            self._post(ticket, Answer(self._look(self._local, image), AnsweredBy.RESCUE))

    def _look(self, local: LocalDetects, image: Image) -> Detections:
        begin = self._clock()
        _, found = local.detect(image)
        self._local_s.append(self._clock() - begin)
        return found

    # In the thread of the sinks.

    def write(self, result: FrameResult) -> None:
        """Take a result of the pipeline."""
        ticket = self.source.ticket_of(result.frame.frame_id)
        if ticket is not None:
            is_local = result.encoded.point == LOCAL
            if is_local:
                self._local_s.append(result.encoded.encode_ms / 1000)
            by = AnsweredBy.DEVICE if is_local else AnsweredBy.SERVER
            self._post(ticket, Answer(result.detections, by, result.end_to_end_ms))

    def _post(self, ticket: int, answer: Answer) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._settle, ticket, answer)

    # In the event loop again.

    def _settle(self, ticket: int, answer: Answer) -> None:
        waiting = self._waiting.get(ticket)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)
