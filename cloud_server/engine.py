"""The engine: decodes frames in a small thread pool and computes them in batches on one thread.

Frames come from the event loop and answers go back to it, with one wake-up of the loop per batch. Only
the engine's own thread calls the model's `infer`, so it owns torch and the accelerator.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from cloud_server.batcher import Batch, Batcher, Phase, Request
from splitnet.detections import Detections
from splitnet.errors import DeadlineExceededError, SplitError
from splitnet.messages import Frame, FrameDetections, FrameError, ServerTiming
from splitnet.operating_point import Mode
from splitnet.wire import status_of

logger = logging.getLogger(__name__)

Answer = FrameDetections | FrameError
D = TypeVar("D")  # a decoded frame, which only the model looks into


class Model(Protocol[D]):
    """What the engine needs of a bundle."""

    def warm_up(self, max_batch_size: int) -> None:
        """Run every path once. Called on the engine's thread."""

    def decode(self, frame: Frame) -> D:
        """Turn a payload into what a batch is made of. Called on any thread. Raises SplitError."""

    def infer(self, kind: Mode, batch: Sequence[D]) -> list[Detections]:
        """Return the detections of each decoded frame. Called on the engine's thread only."""


@dataclass(eq=False)
class Job(Request, Generic[D]):
    """A frame on its way through the engine."""

    frame: Frame = field(kw_only=True)
    on_answer: Callable[[Answer], None] = field(kw_only=True)  # called once, on the event loop
    decoded: D | None = None
    decode_s: float = 0.0
    cancelled: bool = False  # nobody waits for the answer any more


class Engine(Generic[D]):
    """Answers frames with a model."""

    def __init__(
        self,
        model: Model[D],
        max_batch_size: int,
        max_queue: int,
        decode_threads: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the model, the largest batch, the longest queue, and a clock in seconds."""
        self._model = model
        self._max_batch_size = max_batch_size
        self._clock = clock
        self._batcher: Batcher[Job[D]] = Batcher(max_batch_size, max_queue)
        self._changed = threading.Condition()  # guards the batcher and _stopping
        self._stopping = False
        self._decoders = ThreadPoolExecutor(decode_threads, thread_name_prefix="decode")
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._started = threading.Event()
        self._failure: Exception | None = None
        self._call_soon: Callable[..., Any] = _not_started

    def start(self, call_soon: Callable[..., Any]) -> None:
        """Start the thread and wait until the model is warm.

        call_soon: how answers reach the event loop, its `call_soon_threadsafe`. Raises what the model
        raises while it warms up.
        """
        self._call_soon = call_soon
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure

    def stop(self, timeout_s: float = 5.0) -> None:
        """Let the current batch finish, drop the rest, and wait for the thread at most timeout_s."""
        self._decoders.shutdown(wait=False, cancel_futures=True)
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout_s)

    @property
    def depth(self) -> int:
        """The number of frames that wait."""
        return self._batcher.depth

    def submit(self, frame: Frame, on_answer: Callable[[Answer], None]) -> Job[D]:
        """Take a frame in. Called on the event loop. Raises ShedError when the queue is full."""
        now = self._clock()
        deadline = now + frame.deadline_ms / 1000 if frame.deadline_ms else math.inf
        job: Job[D] = Job(frame.operating_point.mode, now, deadline, frame=frame, on_answer=on_answer)
        with self._changed:
            self._batcher.admit(job)
        self._decoders.submit(self._decode, job)
        return job

    def cancel(self, job: Job[D]) -> None:
        """Forget a frame, wherever it is: its answer is dropped. Called on the event loop."""
        job.cancelled = True
        with self._changed:
            self._batcher.withdraw(job)

    def _decode(self, job: Job[D]) -> None:
        if job.cancelled:
            return
        start = self._clock()
        try:
            job.decoded = self._model.decode(job.frame)
        except Exception as error:
            with self._changed:
                self._batcher.withdraw(job)
            self._call_soon(_hand_over, [(job, _error_answer(job, error))])
            return
        job.decode_s = self._clock() - start
        with self._changed:
            self._batcher.ready(job)
            self._changed.notify()

    def _run(self) -> None:
        try:
            self._model.warm_up(self._max_batch_size)
        except Exception as error:
            self._failure = error
            return
        finally:
            self._started.set()
        while (batch := self._next_batch()) is not None:
            answers: list[Answer] = [_expired_answer(job) for job in batch.expired]
            answers += self._answers(batch.requests)
            jobs = batch.expired + batch.requests
            self._call_soon(_hand_over, list(zip(jobs, answers, strict=True)))

    def _next_batch(self) -> Batch[Job[D]] | None:
        """Wait for work; None when the engine stops."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._batcher.has_ready)
            return None if self._stopping else self._batcher.take(self._clock())

    def _answers(self, jobs: list[Job[D]]) -> list[Answer]:
        """Compute one batch. Where it fails, each frame is tried alone, so only the culprit pays."""
        if not jobs:
            return []
        start = self._clock()
        try:
            found = self._model.infer(jobs[0].kind, [_decoded(job) for job in jobs])
            end = self._clock()
            return [_answer(job, one, start, end) for job, one in zip(jobs, found, strict=True)]
        except Exception as error:
            if len(jobs) == 1:
                return [_error_answer(jobs[0], error)]
            return [answer for job in jobs for answer in self._answers([job])]


def _not_started(*_: object) -> None:
    raise RuntimeError("the engine has not been started")


def _decoded(job: Job[D]) -> D:
    assert job.phase is Phase.TAKEN and job.decoded is not None
    return job.decoded


def _answer(job: Job[Any], detections: Detections, start: float, end: float) -> FrameDetections:
    wait_s = max(0.0, start - job.arrived_at - job.decode_s)
    timing = ServerTiming(wait_s * 1000, job.decode_s * 1000, (end - start) * 1000)
    return FrameDetections(job.frame.frame_id, job.frame.capture_time_us, detections, timing)


def _expired_answer(job: Job[Any]) -> FrameError:
    message = f"the frame waited on the server until its deadline of {job.frame.deadline_ms} ms had passed"
    return _error_answer(job, DeadlineExceededError(message))


def _error_answer(job: Job[Any], error: Exception) -> FrameError:
    if not isinstance(error, SplitError):
        logger.error("frame failed", exc_info=error)
        error = SplitError("the server failed on this frame; its log says why")
    return error_answer(job.frame.frame_id, job.frame.capture_time_us, error)


def error_answer(frame_id: int, capture_time_us: int, error: SplitError) -> FrameError:
    """Return the answer that tells a device what was wrong with a frame."""
    return FrameError(frame_id, capture_time_us, status_of(error), str(error))


def _hand_over(answers: list[tuple[Job[Any], Answer]]) -> None:
    """Run on the event loop, where `cancelled` is set too: no answer follows a cancellation."""
    for job, answer in answers:
        if not job.cancelled:
            job.on_answer(answer)
