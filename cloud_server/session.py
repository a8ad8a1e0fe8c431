"""One open stream: its frames are acknowledged and given to the engine, their answers are written as they come."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from cloud_server.access.budgets import Buckets
from cloud_server.access.callers import Caller
from cloud_server.engine import Engine
from cloud_server.fleet.fleet import SessionWatch
from cloud_server.group_sessions import Member
from cloud_server.held_bytes import HeldBytes
from cloud_server.job import Answer, Job, error_answer
from cloud_server.layered_frames import LayeredFrames
from cloud_server.registry import BundleModelOf
from protos import split_inference_pb2 as pb
from splitnet.codec.references import ReferenceStore
from splitnet.errors import DeadlineExceededError, ProtocolError, ShedError, SplitError
from splitnet.messages import (
    MAX_UNANSWERED,
    Ack,
    Draining,
    Frame,
    FrameDetections,
    FrameError,
    FurtherBundle,
    OpenSession,
    Reply,
)
from splitnet.operating_point import Mode
from splitnet.wire.device_status import status_from_proto
from splitnet.wire.frames import frame_from_proto, layer_from_proto
from splitnet.wire.sessions import reply_to_proto

MAX_UNSENT_ACKS = 64  # of layers; those of frames have the places of their frames

logger = logging.getLogger(__name__)

DetectContext = grpc.aio.ServicerContext[pb.DetectRequest, pb.DetectReply]
# Of a device, by its name; the class names of the session's bundle and of its further ones.
OnDetections = Callable[[str, Sequence[Sequence[str]], Frame, FrameDetections], None]


async def read_message(context: DetectContext) -> pb.DetectRequest | None:
    """Return the next message of a stream, None at its end. Raises ProtocolError if it is none."""
    try:
        message = await context.read()
    except DecodeError as error:
        raise ProtocolError(f"a message does not follow the .proto file: {error}") from error
    return message if isinstance(message, pb.DetectRequest) else None


def check_fits_opening(frame: Frame, bundle_digest: str) -> None:
    """Raise ProtocolError for features from a client that has not said which bundle made them."""
    if not bundle_digest and frame.operating_point.mode is Mode.SPLIT:
        raise ProtocolError("without a bundle's digest only images are taken: give that of your encoder's bundle")


@dataclass(frozen=True)
class Pace:
    """How fast sessions are read."""

    messages: Buckets  # of all sessions, by who pays
    refusals: Buckets  # of a session's name
    refusals_of_group: Buckets
    held: HeldBytes
    idle_timeout_s: float
    clock: Callable[[], float] = time.monotonic


def host_of(peer: str) -> str:
    """Return where a peer is, without its port: "ipv4:192.0.2.1"."""
    return peer.rpartition(":")[0] or peer


class Session:
    """Serves one device. Everything here runs on the event loop."""

    def __init__(
        self,
        engine: Engine[Any],
        model: BundleModelOf[Any],
        context: DetectContext,
        opening: OpenSession,
        watch: SessionWatch,
        caller: Caller,
        pace: Pace,
        on_detections: OnDetections | None = None,
        member: Member | None = None,
        further: Sequence[FurtherBundle] = (),
    ) -> None:
        """Take a started engine, the model that answers, the stream with its opening, who is told what happens, from
        whom it is and how fast it is read. on_detections: who is told of every answer. member: the device's place in
        its group. further: bundles that answer, too.

        Raises ForbiddenError if the opening names another device.
        """
        self._engine = engine
        self._model = model
        self._context = context
        self._opening = opening
        self._watch = watch
        self._caller = caller
        self._pace = pace
        self._on_detections = on_detections
        self._class_names = (model.description.class_names, *(one.bundle.class_names for one in further))
        self._payer = caller.payer_of_session(opening.device_id, opening.camera)
        self._outgoing: asyncio.Queue[Reply] = asyncio.Queue()
        self._room = asyncio.Semaphore(MAX_UNANSWERED)
        self._room_of_layers = asyncio.Semaphore(MAX_UNSENT_ACKS)
        self._held = 0  # bytes of payloads
        self._further = further
        self._member = member
        self._parts_bytes = 0  # of parts that wait for the others, or for the answer
        if member is not None:
            member.listen(self._finish_part)
        self._read_at = pace.clock()
        self._jobs: set[Job[Any]] = set()
        self._references = ReferenceStore()
        self._layered = LayeredFrames(self._compute, time.monotonic, asyncio.get_running_loop().call_later)
        self._frames = 0
        self._refused = 0
        self._paced_refusals = 0

    async def run(self) -> None:
        """Serve until the device has closed its side and has its answers, or until cancelled."""
        who = {"device": self._opening.device_id, "session": self._watch.session}
        if self._opening.camera:
            who["camera"] = self._opening.camera
        logger.info("session opened", extra={**who, "peer": self._context.peer()})
        reader, writer = asyncio.create_task(self._read()), asyncio.create_task(self._write())
        try:
            await self._first_of(reader, writer)
        finally:
            reader.cancel()
            writer.cancel()
            counts = {"frames": self._frames, "refused": self._refused, "unanswered": len(self._jobs)}
            self._forget()
            logger.info("session closed", extra={**who, **counts})

    async def _first_of(self, *tasks: asyncio.Task[None]) -> None:
        """Wait until one of them ends, or raises. Raises DeadlineExceededError if nothing is read for too long."""
        limit_s = self._pace.idle_timeout_s
        while (left_s := self._read_at + limit_s - self._pace.clock()) > 0:
            done, _ = await asyncio.wait(tasks, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if done:
                done.pop().result()
                return
        raise DeadlineExceededError(f"no frame for {limit_s:g} s: open the session again")

    def _forget(self) -> None:
        """Let go of all that is large, at once: a session is part of cycles, which Python looks for now and then."""
        if self._member is not None:
            self._member.leave()
        self._parts_bytes = 0
        self._layered.close()
        for job in self._jobs:
            self._engine.cancel(job)
        self._jobs.clear()
        self._references.clear()
        self._count_held()

    def refused(self) -> SplitError | None:
        """Return why the device may not go on: it was revoked, or lost a bundle."""
        try:
            self._caller.check_may_use(self._model.name, self._model.digest)
            for one in self._further:
                self._caller.check_may_use(one.bundle_name, one.bundle_digest)
        except SplitError as error:
            return error
        return None

    def drain(self, grace_ms: int) -> None:
        """Tell the device to go elsewhere. What it has sent before it hears of that is answered."""
        self._outgoing.put_nowait(Draining(grace_ms))

    async def _read(self) -> None:
        while await self._read_one():
            if (wait_s := self._wait_s()) > 0:
                await asyncio.sleep(wait_s)
        self._layered.finish_all()
        if self._member is not None:
            self._member.finish()
        for _ in range(MAX_UNANSWERED):  # all room is free again: every answer has been written
            await self._room.acquire()

    def _wait_s(self) -> float:
        """Return how long not to read: a flood costs less in the socket's buffer."""
        now, pace = self._pace.clock(), self._pace
        waits = [pace.messages.take(self._payer.group, now)]
        refused, self._paced_refusals = self._refused - self._paced_refusals, self._refused
        for _ in range(refused):
            waits += [pace.refusals.take(self._payer, now), pace.refusals_of_group.take(self._payer.group, now)]
        return max(waits)

    async def _read_one(self) -> bool:
        """Take the next message once there is room for it; returns False at the end of the stream."""
        await self._pace.held.room(self._payer.group)
        message = await read_message(self._context)
        self._read_at = self._pace.clock()
        if message is None:
            return False
        kind = message.WhichOneof("request")
        if kind == "status":
            self._take_status(message.status)
        elif kind == "layer":
            await self._room_of_layers.acquire()
            self._take_layer(message.layer)
        else:
            await self._room.acquire()
            self._take(message)
        self._count_held()
        return True

    def _count_held(self) -> None:
        now = self._parts_bytes + self._layered.nbytes + sum(len(job.frame.payload) for job in self._jobs)
        self._pace.held.change(self._payer.group, now - self._held)
        self._held = now

    def _take(self, message: pb.DetectRequest) -> None:
        if message.WhichOneof("request") != "frame":
            raise ProtocolError("after its opening a session takes frames only")
        received_us = time.monotonic_ns() // 1000
        frame = message.frame
        self._frames += 1
        taken = self._begin(frame)
        depth = taken.queue_depth if isinstance(taken, Job) else self._engine.depth
        self._outgoing.put_nowait(Ack(frame.frame_id, len(frame.payload), received_us, depth))
        if isinstance(taken, FrameError):
            self._answer(taken)

    def _take_status(self, message: pb.DeviceStatus) -> None:
        now = time.monotonic()
        if not self._watch.may_report(now):
            return
        try:
            self._watch.reported(now, status_from_proto(message))
        except ProtocolError as error:  # it says nothing of the frames, which go on
            self._watch.bad_status()
            logger.warning("status refused", extra={"session": self._watch.session, "reason": str(error)})

    def _take_layer(self, message: pb.Layer) -> None:
        """Take a further layer of a frame. What is wrong with it spoils no more than itself."""
        received_us = time.monotonic_ns() // 1000
        size, layer = len(message.payload), message.layer
        self._outgoing.put_nowait(Ack(message.frame_id, size, received_us, self._engine.depth, layer))
        try:
            self._layered.add(layer_from_proto(message))
        except ProtocolError as error:
            logger.info("layer ignored", extra={"device": self._opening.device_id, "reason": str(error)})

    def _begin(self, message: pb.Frame) -> Job[Any] | FrameError | None:
        """Take a frame, or the first layer of one; returns its job, None while layers are to come, or a refusal."""
        try:
            frame = frame_from_proto(message)
            self._watch.frame(time.monotonic(), frame)
            check_fits_opening(frame, self._opening.bundle_digest)
            self._check_rate()
            if self._member is not None:
                self._offer(self._member, frame)
                return None
        except SplitError as error:
            return error_answer(message.frame_id, message.capture_time_us, error)
        if frame.layers:
            self._layered.begin(frame, self._engine.expected_s)
            return None
        return self._submit(frame)

    def _offer(self, member: Member, frame: Frame) -> None:
        """Give a part to the device's group. Raises SplitError if it is of no use."""
        self._parts_bytes += len(frame.payload)
        try:
            member.offer(frame)
        except SplitError:
            self._parts_bytes -= len(frame.payload)
            raise

    def _finish_part(self, frame: Frame, answer: Answer) -> None:
        self._parts_bytes -= len(frame.payload)
        self._count_held()
        self._answer(answer, frame.deadline_ms)

    def _compute(self, frame: Frame) -> None:
        """Have a frame computed with the layers that have come."""
        taken = self._submit(frame)
        if isinstance(taken, FrameError):
            self._answer(taken)

    def _submit(self, frame: Frame) -> Job[Any] | FrameError:
        """Give a frame to the engine; returns the answer if it is refused here."""
        try:
            job = self._engine.submit(self._model, frame, self._finish, self._payer, self._references)
        except SplitError as error:
            return error_answer(frame.frame_id, frame.capture_time_us, error)
        self._jobs.add(job)
        return job

    def _check_rate(self) -> None:
        """Raise ShedError if the device sends more frames than it may."""
        device = self._caller.device
        if device is None or device.max_fps is None:
            return
        if not self._pace.messages.allow((self._payer.group, "frames"), self._pace.clock(), device.max_fps):
            raise ShedError(f"this device may send {device.max_fps:g} frames a second: send fewer")

    def _finish(self, job: Job[Any], answer: Answer) -> None:
        self._jobs.discard(job)
        self._count_held()
        self._answer(answer, job.frame.deadline_ms)
        if self._on_detections is not None and isinstance(answer, FrameDetections):
            self._on_detections(_camera_of(self._opening), self._class_names, job.frame, answer)

    def _answer(self, answer: Answer, deadline_ms: int = 0) -> None:
        self._watch.answer(time.monotonic(), answer, deadline_ms)
        self._refused += isinstance(answer, FrameError)
        self._outgoing.put_nowait(answer)

    async def _write(self) -> None:
        while True:
            reply = await self._outgoing.get()
            await self._context.write(reply_to_proto(reply))
            if isinstance(reply, FrameDetections | FrameError):
                self._room.release()
            elif isinstance(reply, Ack) and reply.layer:
                self._room_of_layers.release()


def _camera_of(opening: OpenSession) -> str:
    """Return what a camera is called: as its device, which may have several."""
    return f"{opening.device_id}-{opening.camera}" if opening.camera else opening.device_id
