"""The gRPC service: sessions and single calls, as frames for the engine and answers from it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from cloud_server.engine import Engine
from cloud_server.job import Answer, Job, Model, error_answer
from cloud_server.registry import Registry
from protos import split_inference_pb2 as pb
from protos.split_inference_pb2_grpc import SplitInferenceServicer
from splitnet.errors import DrainingError, ProtocolError, SplitError
from splitnet.messages import (
    Ack,
    Draining,
    FrameDetections,
    FrameError,
    InferRequest,
    OpenSession,
    Reply,
    SessionOpened,
)
from splitnet.wire import (
    detections_to_proto,
    frame_from_proto,
    infer_request_from_proto,
    reply_to_proto,
    request_from_proto,
    status_of,
)

logger = logging.getLogger(__name__)

# Frames of one session; beyond it its stream is not read, so that a device that floods slows itself down
# and leaves the queue to the others. A device needs one or two.
MAX_UNANSWERED = 8

_session_numbers = itertools.count(1)

DetectContext = grpc.aio.ServicerContext[pb.DetectRequest, pb.DetectReply]
InferContext = grpc.aio.ServicerContext[pb.InferRequest, pb.InferReply]


class SplitInferenceService(SplitInferenceServicer):
    """Serves the bundles of a registry. Everything here runs on the event loop."""

    def __init__(self, engine: Engine[Any], registry: Registry[Any], software: str) -> None:
        """Take a started engine, its models, and the name and version that sessions are told."""
        self._engine = engine
        self._registry = registry
        self._software = software
        self._sessions: set[_Session] = set()
        self._calls = 0  # sessions and single calls
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def Detect(  # noqa: N802 - the name is the protocol's
        self, request_iterator: AsyncIterator[pb.DetectRequest], context: DetectContext
    ) -> None:
        """Serve a session."""
        try:
            await self._serve(context)
        except SplitError as error:
            logger.info("session refused", extra={"peer": context.peer(), "reason": str(error)})
            await context.abort(status_of(error), str(error))

    async def Infer(self, request: pb.InferRequest, context: InferContext) -> pb.InferReply:  # noqa: N802
        """Answer one frame."""
        try:
            with self._busy():
                answer = await self._answer(infer_request_from_proto(request), context.peer())
        except SplitError as error:
            await context.abort(status_of(error), str(error))
        if isinstance(answer, FrameError):
            await context.abort(answer.status, answer.message)
        return pb.InferReply(detections=detections_to_proto(answer))

    def drain(self, grace_s: float) -> None:
        """Refuse new sessions and calls, and tell the open ones to go elsewhere; their frames are still answered."""
        self._draining = True
        for session in self._sessions:
            session.drain(round(grace_s * 1000))

    async def wait_idle(self) -> None:
        """Wait until no session and no call is left."""
        await self._idle.wait()

    async def _serve(self, context: DetectContext) -> None:
        message = await context.read()
        if not isinstance(message, pb.DetectRequest):  # the device has hung up
            return
        opening = request_from_proto(message)
        if not isinstance(opening, OpenSession):
            raise ProtocolError("the first message of a session opens it; this was a frame")
        model = self._registry.find(opening.bundle_digest)
        with self._busy():
            session = _Session(self._engine, model, context, opening.device_id)
            await self._run(session, SessionOpened(model.name, model.digest, self._software), context)

    async def _run(self, session: _Session, opened: SessionOpened, context: DetectContext) -> None:
        # Known before the device hears of it, so that a drain in between is not missed.
        self._sessions.add(session)
        try:
            await context.write(reply_to_proto(opened))
            await session.run()
        finally:
            self._sessions.discard(session)

    async def _answer(self, request: InferRequest, peer: str) -> Answer:
        model = self._registry.find(request.bundle_digest)
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        job = self._engine.submit(model, request.frame, answered.set_result, session=peer)
        try:
            return await answered
        finally:
            self._engine.cancel(job)

    @contextmanager
    def _busy(self) -> Iterator[None]:
        """Count a session or a call. Raises DrainingError once the server drains."""
        if self._draining:
            raise DrainingError("this server is shutting down: use another one, or try again later")
        self._calls += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()


class _Session:
    """An open stream: acknowledges and submits frames, writes their answers as they come."""

    def __init__(self, engine: Engine[Any], model: Model[Any], context: DetectContext, device_id: str) -> None:
        self._number = next(_session_numbers)
        self._engine = engine
        self._model = model
        self._context = context
        self._device_id = device_id
        self._outgoing: asyncio.Queue[Reply] = asyncio.Queue()
        self._room = asyncio.Semaphore(MAX_UNANSWERED)
        self._jobs: set[Job[Any]] = set()
        self._frames = 0
        self._refused = 0

    async def run(self) -> None:
        """Serve until the device has closed its side and has its answers, or until cancelled."""
        logger.info("session opened", extra={"device": self._device_id, "peer": self._context.peer()})
        reader, writer = asyncio.create_task(self._read()), asyncio.create_task(self._write())
        try:
            done, _ = await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            reader.cancel()
            writer.cancel()
            for job in self._jobs:
                self._engine.cancel(job)
            counts = {"frames": self._frames, "refused": self._refused, "unanswered": len(self._jobs)}
            logger.info("session closed", extra={"device": self._device_id, **counts})

    def drain(self, grace_ms: int) -> None:
        """Tell the device to go elsewhere. What it has sent before it hears of that is answered."""
        self._outgoing.put_nowait(Draining(grace_ms))

    async def _read(self) -> None:
        while isinstance(message := await self._context.read(), pb.DetectRequest):
            await self._room.acquire()
            self._take(message)
        for _ in range(MAX_UNANSWERED):  # all room is free again: every answer has been written
            await self._room.acquire()

    def _take(self, message: pb.DetectRequest) -> None:
        if message.WhichOneof("request") != "frame":
            raise ProtocolError("after its opening a session takes frames only")
        received_us = time.monotonic_ns() // 1000
        frame = message.frame
        self._frames += 1
        taken = self._submit(frame)
        depth = self._engine.depth if isinstance(taken, FrameError) else taken.queue_depth
        self._outgoing.put_nowait(Ack(frame.frame_id, len(frame.payload), received_us, depth))
        if isinstance(taken, FrameError):
            self._answer(taken)

    def _submit(self, message: pb.Frame) -> Job[Any] | FrameError:
        """Give a frame to the engine; returns the answer if it is refused here."""
        try:
            frame = frame_from_proto(message)
            job = self._engine.submit(self._model, frame, lambda answer: self._finish(job, answer), self._number)
        except SplitError as error:
            return error_answer(message.frame_id, message.capture_time_us, error)
        self._jobs.add(job)
        return job

    def _finish(self, job: Job[Any], answer: Answer) -> None:
        self._jobs.discard(job)
        self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        self._refused += isinstance(answer, FrameError)
        self._outgoing.put_nowait(answer)

    async def _write(self) -> None:
        while True:
            reply = await self._outgoing.get()
            await self._context.write(reply_to_proto(reply))
            if isinstance(reply, FrameDetections | FrameError):
                self._room.release()
