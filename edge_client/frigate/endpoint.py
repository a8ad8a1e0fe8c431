"""The socket that Frigate's ZeroMQ detector plug-in talks to. Everything here runs in the event loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import zmq
import zmq.asyncio

from edge_client.frames import Image
from edge_client.frigate.messages import DetectRequest, ModelRequest, error_reply, parse, reply, rows_of
from edge_client.frigate.tensors import MAX_TENSOR_BYTES, TensorReader
from edge_client.requests.desk import Answer
from splitnet.errors import ConfigError, ProtocolError

MAX_REQUESTS = 64  # being answered; further ones wait in the socket
QUEUED_OF_A_PEER = 2  # messages: the plug-in waits for each answer
SAY_AGAIN_S = 60.0  # how often the same kind of bad request is told of

logger = logging.getLogger(__name__)


class Asks(Protocol):
    """Who knows what is in an image."""

    async def ask(self, image: Image) -> Answer:
        """Return what is found in an image (H, W, 3) uint8 BGR."""
        ...


class FrigateEndpoint:
    """Answers every message of every client, each as soon as it can be; none waits for another one."""

    def __init__(
        self, desk: Asks, pixel_format: str, min_score: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take who answers, the order of colours ("rgb", "bgr") and the least score that is passed on."""
        self.refused: Counter[str] = Counter()
        self._desk = desk
        self._reader = TensorReader(pixel_format)
        self._min_score = min_score
        self._clock = clock
        self._said: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(MAX_REQUESTS)
        self._context = zmq.asyncio.Context()
        # REP would answer one client at a time, and stand still when that one has gone.
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_TENSOR_BYTES)
        self._socket.setsockopt(zmq.RCVHWM, QUEUED_OF_A_PEER)

    def bind(self, address: str) -> str:
        """Listen; returns the address with its port. Raises ConfigError if it cannot be had."""
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            how = "give tcp://127.0.0.1:5555, or ipc:///path/of/a/socket"
            raise ConfigError(f"cannot listen on --listen {address} ({error.strerror}): {how}") from error
        return self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    async def serve(self) -> None:
        """Answer until cancelled."""
        while True:
            await self._room.acquire()
            envelope, parts = _opened(await self._socket.recv_multipart(copy=False))
            task = asyncio.create_task(self._answer(envelope, parts))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def close(self) -> None:
        """Close the socket; who waits then hears nothing more."""
        self._socket.close(0)
        self._context.term()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._room.release()

    async def _answer(self, envelope: list[zmq.Frame], parts: list[memoryview]) -> None:
        try:
            answer = await self._answer_to(parse(parts))
        except ProtocolError as error:
            self._complain(str(error))
            answer = error_reply(str(error))
        await self._socket.send_multipart([*envelope, *answer])

    async def _answer_to(self, request: ModelRequest | DetectRequest) -> Sequence[bytes]:
        if isinstance(request, ModelRequest):
            if request.brings_data:
                logger.warning("Frigate's model %s is not used: the bundle is the model", request.name)
            return request.answer()
        image = self._reader.image(request.header, request.tensor)
        answer = await self._desk.ask(image)
        rows = rows_of(answer.detections, image.shape[1], image.shape[0], self._min_score)
        return reply(rows, answered_by=answer.by.value, pipeline_ms=round(answer.pipeline_ms, 2))

    def _complain(self, message: str) -> None:
        kind = message.partition(":")[0][:40]
        self.refused[kind if len(self.refused) < 100 or kind in self.refused else "others"] += 1
        now = self._clock()
        if now - self._said.get(kind, -SAY_AGAIN_S) >= SAY_AGAIN_S:
            self._said = {known: at for known, at in self._said.items() if now - at < SAY_AGAIN_S} | {kind: now}
            logger.warning("a request was answered without objects: %s", message)


def _opened(frames: Sequence[zmq.Frame]) -> tuple[list[zmq.Frame], list[memoryview]]:
    """Divide a message into its envelope and its parts: a REQ socket puts an empty part in between, others do not."""
    after = 2 if len(frames) > 1 and not len(frames[1]) else 1
    return list(frames[:after]), [frame.buffer for frame in frames[after:]]
