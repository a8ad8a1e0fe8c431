"""A server for the client's tests: a real gRPC stream, with a script in place of a detector."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import numpy as np

from protos.split_inference_pb2_grpc import SplitInferenceServicer, add_SplitInferenceServicer_to_server
from splitnet.detections import Detections
from splitnet.messages import Ack, Frame, FrameDetections, Reply, ServerTiming, SessionOpened
from splitnet.wire.sessions import reply_to_proto, request_from_proto

DIGEST = "ab" * 32
OPENED = SessionOpened("fake", DIGEST, "fake server 1")

Answer = Callable[[Frame], list[Reply]]
Step = Callable[["FakeService", grpc.aio.ServicerContext], Awaitable[None]]


def detections_of(frame: Frame) -> FrameDetections:
    """Return one object that covers the whole frame."""
    box = np.array([[0, 0, frame.frame_width, frame.frame_height]], np.float32)
    found = Detections(box, np.array([0.9], np.float32), np.array([0], np.int32))
    return FrameDetections(frame.frame_id, frame.capture_time_us, found, ServerTiming(1.0, 2.0, 3.0))


def ack_and_detect(frame: Frame) -> list[Reply]:
    """Answer as a healthy server does."""
    return [Ack(frame.frame_id, len(frame.payload), 5, 1), detections_of(frame)]


class FakeService(SplitInferenceServicer):
    """Opens every session and answers each frame as its script says. `answer` may be replaced meanwhile."""

    def __init__(self, opened: SessionOpened | None = OPENED, answer: Answer = ack_and_detect) -> None:
        self.opened = opened
        self.answer = answer
        self.refusal: tuple[grpc.StatusCode, str] | None = None
        self.break_after = 0  # frames of a session, then the stream is torn down; 0 for never
        self.frames: list[Frame] = []
        self.sessions = 0
        self.got_frame = asyncio.Event()
        self.called_again = asyncio.Event()  # a frame has come in another session than the first one did
        self._sessions_with_frames = 0

    async def Detect(self, requests, context):  # noqa: N802
        request_from_proto(await context.read())
        self.sessions += 1
        if self.refusal:
            await context.abort(*self.refusal)
        if self.opened is not None:
            await context.write(reply_to_proto(self.opened))
        await self._answer_frames(context)

    async def _answer_frames(self, context) -> None:
        count = 0
        while (message := await context.read()) is not grpc.aio.EOF:
            frame = request_from_proto(message)
            self.frames.append(frame)
            self.got_frame.set()
            count += 1
            self._note_session(count)
            if count == self.break_after:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "broken by the test")
            for reply in self.answer(frame):
                await context.write(reply_to_proto(reply))

    def _note_session(self, count: int) -> None:
        self._sessions_with_frames += count == 1
        if self._sessions_with_frames > 1:
            self.called_again.set()


@asynccontextmanager
async def serving(service: FakeService, port: int = 0) -> AsyncIterator[str]:
    """Serve on loopback; yields "127.0.0.1:PORT"."""
    server = grpc.aio.server()
    add_SplitInferenceServicer_to_server(service, server)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield f"127.0.0.1:{bound}"
    finally:
        await server.stop(None)
