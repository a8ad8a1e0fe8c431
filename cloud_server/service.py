"""The gRPC service: sessions and single calls, as frames for the engine and answers from it."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from cloud_server.access.budgets import Buckets
from cloud_server.access.callers import Caller, current_caller
from cloud_server.engine import Engine
from cloud_server.fleet.fleet import Fleet, SessionWatch, reason_of
from cloud_server.group_sessions import Groups, check_place
from cloud_server.held_bytes import HeldBytes
from cloud_server.job import Answer
from cloud_server.registry import BundleModelOf, Registry
from cloud_server.session import DetectContext, OnDetections, Pace, Session, check_fits_opening, host_of, read_message
from protos import split_inference_pb2 as pb
from protos.split_inference_pb2_grpc import SplitInferenceServicer
from splitnet.errors import DeadlineExceededError, DrainingError, ProtocolError, SplitError
from splitnet.image_header import MAX_IMAGE_PIXELS
from splitnet.messages import Frame, FrameError, FurtherBundle, InferRequest, OpenSession, SessionLimits, SessionOpened
from splitnet.wire.answers import detections_to_proto
from splitnet.wire.sessions import infer_request_from_proto, reply_to_proto, request_from_proto
from splitnet.wire.statuses import status_of

SESSION_ID_BYTES = 4
# Of one payer's sessions; then they are read later.
MESSAGES_PER_S, MESSAGES_BURST = 500.0, 500.0
REFUSALS_PER_S, REFUSALS_BURST = 20.0, 40.0  # of one name
GROUP_REFUSALS_PER_S, GROUP_REFUSALS_BURST = 200.0, 400.0

logger = logging.getLogger(__name__)

InferContext = grpc.aio.ServicerContext[pb.InferRequest, pb.InferReply]


@dataclass(frozen=True)
class ServiceLimits:
    """How long a stream may say nothing, and what it is told of images."""

    open_timeout_s: float = 10.0  # a stream that does not open its session takes a place that another could have
    idle_timeout_s: float = 900.0
    max_image_pixels: int = MAX_IMAGE_PIXELS


class SplitInferenceService(SplitInferenceServicer):
    """Serves the bundles of a registry. Everything here runs on the event loop."""

    def __init__(
        self,
        engine: Engine[Any],
        registry: Registry[Any],
        software: str,
        fleet: Fleet | None = None,
        limits: ServiceLimits | None = None,
        on_detections: OnDetections | None = None,
    ) -> None:
        """Take a started engine, its models, name and version for sessions, who counts devices, and limits.

        on_detections: who is told of the answers to the frames of sessions.
        """
        self._on_detections = on_detections
        self._limits = limits or ServiceLimits()
        self._messages = Buckets(MESSAGES_PER_S, MESSAGES_BURST)
        self._refusals = Buckets(REFUSALS_PER_S, REFUSALS_BURST)
        self._group_refusals = Buckets(GROUP_REFUSALS_PER_S, GROUP_REFUSALS_BURST)
        self._held = HeldBytes()
        self._engine = engine
        self._registry = registry
        self._software = software
        self._fleet = fleet or Fleet()
        self.groups = Groups(engine, on_detections)
        self._sessions: dict[Session, asyncio.Task[Any]] = {}
        self._handlers: dict[asyncio.Task[Any], SplitError | None] = {}  # of every call; why it was ended
        self._calls = 0  # opened sessions and single calls
        self._draining = False
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
                answer = await self._answer(infer_request_from_proto(request), current_caller(context.peer()))
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
        self._draining = True
        for handler in self._handlers:
            self._end(handler, DrainingError("this server has shut down: use another one, or try again later"))

    def expel(self) -> None:
        """End the sessions of devices that may not go on as they do: revoked ones, and those that lost their bundle."""
        for session in self._sessions:
            if (reason := session.refused()) is not None:
                self._end(self._sessions[session], reason)

    def _end(self, handler: asyncio.Task[Any], reason: SplitError) -> None:
        self._handlers[handler] = reason
        handler.cancel()

    async def _serve(self, context: DetectContext) -> None:
        opening = await self._opening(context)
        if opening is None:
            return
        model, further = self._registry.find_all(opening.bundle_digest, opening.further_digests)
        caller = current_caller(context.peer())
        caller.check_may_use(model.name, model.digest)
        for one in further:
            caller.check_may_use(one.bundle_name, one.bundle_digest)
        payer = caller.payer_of_session(opening.device_id, opening.camera)
        with self._busy(), self.groups.place(opening, model, payer, caller.name is not None) as member:
            id, host = secrets.token_hex(SESSION_ID_BYTES), host_of(context.peer())
            name = f"{opening.device_id}/{opening.camera}" if opening.camera else opening.device_id
            watch = self._fleet.opened(time.monotonic(), name, host, id, model.name, model.digest)
            pace = Pace(self._messages, self._refusals, self._group_refusals, self._held, self._limits.idle_timeout_s)
            told = self._on_detections
            session = Session(self._engine, model, context, opening, watch, caller, pace, told, member, further)
            try:
                await self._run(session, self._opened(model, watch, further, opening), context)
            finally:
                watch.closed(time.monotonic())

    async def _opening(self, context: DetectContext) -> OpenSession | None:
        """Wait for the first message; None if the device hangs up before."""
        try:
            message = await asyncio.wait_for(read_message(context), self._limits.open_timeout_s)
        except asyncio.TimeoutError:
            raise DeadlineExceededError(f"a session must be opened within {self._limits.open_timeout_s:g} s") from None
        if message is None:
            return None
        opening = request_from_proto(message)
        if not isinstance(opening, OpenSession):
            raise ProtocolError("the first message of a session opens it; this was a frame")
        return opening

    async def _run(self, session: Session, opened: SessionOpened, context: DetectContext) -> None:
        # Known before the device hears of it, so that a drain in between is not missed.
        self._sessions[session] = _own_task()
        try:
            await context.write(reply_to_proto(opened))
            await session.run()
        finally:
            del self._sessions[session]

    def _opened(
        self, model: BundleModelOf[Any], watch: SessionWatch, further: tuple[FurtherBundle, ...], opening: OpenSession
    ) -> SessionOpened:
        return SessionOpened(
            model.name,
            model.device_digest,
            self._software,
            bundle=model.description,
            limits=SessionLimits(max_image_pixels=self._limits.max_image_pixels),
            session_id=watch.session,
            further=further,
            group=opening.group,
        )

    async def _answer(self, request: InferRequest, caller: Caller) -> Answer:
        check_fits_opening(request.frame, request.bundle_digest)
        if request.frame.layers:
            raise ProtocolError("a frame in layers needs a session (Detect): send a single one whole")
        model = self._registry.find(request.bundle_digest)
        caller.check_may_use(model.name, model.digest)
        check_place(model, None)
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        job = self._engine.submit(model, request.frame, lambda _, answer: answered.set_result(answer), caller.payer)
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
        """Let `end` and `expel` cut a call short. Raises their reason then."""
        handler = _own_task()
        self._handlers[handler] = None
        try:
            yield
        except asyncio.CancelledError:
            if (reason := self._handlers[handler]) is None:
                raise
            raise reason from None
        finally:
            del self._handlers[handler]

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


def _own_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task
