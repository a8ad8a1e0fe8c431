"""The gRPC service: sessions and single calls, as frames for the engine and answers from it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from cloud_server.engine import Engine
from cloud_server.fleet.fleet import Fleet, SessionWatch, reason_of
from cloud_server.job import Answer
from cloud_server.registry import BundleModelOf, Registry
from cloud_server.session import DetectContext, Session, check_fits_opening, host_of, payer, read_message
from protos import split_inference_pb2 as pb
from protos.split_inference_pb2_grpc import SplitInferenceServicer
from splitnet.errors import DeadlineExceededError, DrainingError, ProtocolError, SplitError
from splitnet.messages import Frame, FrameError, InferRequest, OpenSession, SessionLimits, SessionOpened
from splitnet.wire import (
    detections_to_proto,
    infer_request_from_proto,
    reply_to_proto,
    request_from_proto,
    status_of,
)

SESSION_ID_BYTES = 4
OPENING_TIMEOUT_S = 10.0  # a stream that says nothing takes a place that another could have

logger = logging.getLogger(__name__)

InferContext = grpc.aio.ServicerContext[pb.InferRequest, pb.InferReply]


class SplitInferenceService(SplitInferenceServicer):
    """Serves the bundles of a registry. Everything here runs on the event loop."""

    def __init__(self, engine: Engine[Any], registry: Registry[Any], software: str, fleet: Fleet | None = None) -> None:
        """Take a started engine, its models, the name and version that sessions are told, and who counts devices."""
        self._engine = engine
        self._registry = registry
        self._software = software
        self._fleet = fleet or Fleet()
        self._sessions: set[Session] = set()
        self._handlers: set[asyncio.Task[Any]] = set()  # of every call, opened or not
        self._calls = 0  # opened sessions and single calls
        self._draining = False
        self._ended = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def Detect(  # noqa: N802 - the name is the protocol's
        self, request_iterator: AsyncIterator[pb.DetectRequest], context: DetectContext
    ) -> None:
        """Serve a session."""
        try:
            with self._until_ended():
                await self._serve(context)
        except SplitError as error:
            logger.info("session refused", extra={"peer": context.peer(), "reason": str(error)})
            status = status_of(error)
            self._fleet.refused(time.monotonic(), host_of(context.peer()), status.name, str(error))
            await context.abort(status, str(error))

    async def Infer(self, request: pb.InferRequest, context: InferContext) -> pb.InferReply:  # noqa: N802
        """Answer one frame."""
        try:
            with self._until_ended(), self._busy():
                answer = await self._answer(infer_request_from_proto(request), context.peer())
        except SplitError as error:
            await context.abort(status_of(error), str(error))
        if isinstance(answer, FrameError):
            await context.abort(answer.status, answer.message)
        return pb.InferReply(detections=detections_to_proto(answer))

    def drain(self, grace_s: float) -> None:
        """Refuse new sessions and calls, and tell the open ones to go elsewhere; their frames are still answered."""
        self._draining = self._fleet.is_draining = True
        for session in self._sessions:
            session.drain(round(grace_s * 1000))

    async def wait_idle(self) -> None:
        """Wait until no session and no call is left."""
        await self._idle.wait()

    def end(self) -> None:
        """End what is left, as unavailable."""
        self._draining = self._ended = True
        for handler in self._handlers:
            handler.cancel()

    async def _serve(self, context: DetectContext) -> None:
        opening = await self._opening(context)
        if opening is None:
            return
        model = self._registry.find(opening.bundle_digest)
        with self._busy():
            id, host = secrets.token_hex(SESSION_ID_BYTES), host_of(context.peer())
            watch = self._fleet.opened(time.monotonic(), opening.device_id, host, id, model.name, model.digest)
            session = Session(self._engine, model, context, opening, watch)
            try:
                await self._run(session, self._opened(model, watch), context)
            finally:
                watch.closed(time.monotonic())

    async def _opening(self, context: DetectContext) -> OpenSession | None:
        """Wait for the first message; None if the device hangs up before."""
        try:
            message = await asyncio.wait_for(read_message(context), OPENING_TIMEOUT_S)
        except asyncio.TimeoutError:
            raise DeadlineExceededError(f"a session must be opened within {OPENING_TIMEOUT_S:g} s") from None
        if message is None:
            return None
        opening = request_from_proto(message)
        if not isinstance(opening, OpenSession):
            raise ProtocolError("the first message of a session opens it; this was a frame")
        return opening

    async def _run(self, session: Session, opened: SessionOpened, context: DetectContext) -> None:
        # Known before the device hears of it, so that a drain in between is not missed.
        self._sessions.add(session)
        try:
            await context.write(reply_to_proto(opened))
            await session.run()
        finally:
            self._sessions.discard(session)

    def _opened(self, model: BundleModelOf[Any], watch: SessionWatch) -> SessionOpened:
        return SessionOpened(
            model.name,
            model.device_digest,
            self._software,
            bundle=model.description,
            limits=SessionLimits(),
            session_id=watch.session,
        )

    async def _answer(self, request: InferRequest, peer: str) -> Answer:
        check_fits_opening(request.frame, request.bundle_digest)
        model = self._registry.find(request.bundle_digest)
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        job = self._engine.submit(model, request.frame, answered.set_result, payer(peer))
        try:
            answer = await answered
            self._count_call(model.name, request.frame, answer)
            return answer
        finally:
            self._engine.cancel(job)

    def _count_call(self, bundle: str, frame: Frame, answer: Answer) -> None:
        tally = self._fleet.tally
        tally.frame(bundle, frame.operating_point.mode.value, len(frame.payload))
        if isinstance(answer, FrameError):
            tally.refused(bundle, reason_of(answer.status.name))
        else:
            tally.answered(bundle, answer.timing, frame.deadline_ms)

    @contextmanager
    def _until_ended(self) -> Iterator[None]:
        """Let `end` cut a call short. Raises DrainingError then."""
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        try:
            yield
        except asyncio.CancelledError:
            if not self._ended:
                raise
            raise DrainingError("this server has shut down: use another one, or try again later") from None
        finally:
            self._handlers.discard(handler)

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
