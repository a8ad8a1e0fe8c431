"""The engine: decodes frames in a small thread pool and computes them in batches on one thread.

Frames come from the event loop and answers go back to it, with one wake-up of the loop per batch. Only
the engine's own thread calls a model's `infer`, so it owns torch and the accelerator. Models come and go while it
runs: a new one is warmed up step by step, between the batches of the others.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, TypeVar

from cloud_server.batcher import Batch, Batcher, Phase
from cloud_server.job import (
    Answer,
    Job,
    Model,
    detections_answer,
    expired_answer,
    failure_answer,
    hand_over,
    hopeless_answer,
)
from splitnet.errors import DrainingError, ShedError
from splitnet.messages import Frame
from splitnet.operating_point import Mode

MAX_PER_SESSION = 8  # frames of one session that may wait; a device needs one or two
WARM_UP_SIZES = 16  # up to here every batch size is warmed up, beyond it every second power of two

D = TypeVar("D")  # a decoded frame, which only the model looks into


class Engine(Generic[D]):
    """Answers frames with models."""

    def __init__(
        self,
        max_batch_size: int,
        max_queue: int,
        decode_threads: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the largest batch, the longest queue, the threads that decode, and a clock in seconds."""
        self._max_batch_size = max_batch_size
        self._clock = clock
        self._batcher: Batcher[Job[D]] = Batcher(max_batch_size, max_queue, MAX_PER_SESSION)
        self._changed = threading.Condition()  # guards the batcher, the steps and _stopping
        self._steps: deque[tuple[Callable[[], None], Future[None]]] = deque()
        self._stopping = False
        self._decoders = ThreadPoolExecutor(decode_threads, thread_name_prefix="decode")
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._call_soon: Callable[..., Any] = _not_started
        self._batch_sizes: Counter[int] = Counter()

    def start(self, call_soon: Callable[..., Any]) -> None:
        """Start the thread. call_soon: how answers reach the event loop, its `call_soon_threadsafe`."""
        self._call_soon = call_soon
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Let the current batch finish, drop the rest, and wait for the thread at most timeout_s."""
        self._decoders.shutdown(wait=False, cancel_futures=True)
        with self._changed:
            self._stopping = True
            for _, done in self._steps:
                done.cancel()
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    @property
    def depth(self) -> int:
        """The number of frames that wait."""
        return self._batcher.depth

    @property
    def batch_sizes(self) -> dict[int, int]:
        """How many batches of each size were computed."""
        return dict(sorted(self._batch_sizes.items()))

    def adopt(self, model: Model[D]) -> None:
        """Warm a model up and learn what its batches cost; blocks, while frames of other models are served.

        Raises what the model raises, and DrainingError if the engine stops meanwhile.
        """
        self._step(model.prepare)
        for mode in model.modes:
            blank = model.blank(mode)
            for size in warm_up_sizes(self._max_batch_size):
                run = partial(self._warm_up, model, mode, [blank] * size)
                self._step(run)  # the first time allocates and compiles
                self._step(partial(run, counts=True))

    def submit(
        self, model: Model[D], frame: Frame, on_answer: Callable[[Answer], None], session: Hashable = None
    ) -> Job[D]:
        """Take a frame in. Called on the event loop. Raises ShedError when there is no room for it."""
        now = self._clock()
        deadline = now + frame.deadline_ms / 1000 if frame.deadline_ms else math.inf
        kind = _kind(model, frame.operating_point.mode)
        job: Job[D] = Job(kind, now, deadline, session, model=model, frame=frame, on_answer=on_answer)
        with self._changed:
            displaced = self._batcher.admit(job)
            job.queue_depth = self._batcher.depth
        if displaced is not None:
            message = "the server is busy: the frame gave way to that of a session with fewer. Send fewer"
            self._call_soon(hand_over, [(displaced, failure_answer(displaced, ShedError(message)))])
        self._decoders.submit(self._decode, job)
        return job

    def cancel(self, job: Job[D]) -> None:
        """Forget a frame, wherever it is: its answer is dropped. Called on the event loop."""
        job.cancelled = True
        with self._changed:
            self._batcher.withdraw(job)

    def _decode(self, job: Job[D]) -> None:
        if job.phase is not Phase.ADMITTED:
            return
        start = self._clock()
        try:
            job.decoded = job.model.decode(job.frame)
        except Exception as error:
            with self._changed:
                was_waiting = job.phase is Phase.ADMITTED  # else it gave way, and has its answer
                self._batcher.withdraw(job)
            if was_waiting:
                self._call_soon(hand_over, [(job, failure_answer(job, error))])
            return
        job.decode_s = self._clock() - start
        with self._changed:
            self._batcher.ready(job, self._clock())
            self._changed.notify()

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            answers: list[Answer] = [expired_answer(job) for job in batch.expired]
            answers += [hopeless_answer(job) for job in batch.hopeless]
            answers += self._answers(batch.requests)
            jobs = batch.expired + batch.hopeless + batch.requests
            if jobs:
                self._call_soon(hand_over, list(zip(jobs, answers, strict=True)))
            self._take_step()

    def _next_batch(self) -> Batch[Job[D]] | None:
        """Wait until a batch or a step is due; the batch may be empty. None when the engine stops."""
        with self._changed:
            while not self._stopping:
                now = self._clock()
                start_at = self._batcher.start_at(now)
                if start_at <= now or self._steps:
                    return self._batcher.take(now) if start_at <= now else Batch([], [], [])
                self._changed.wait(None if math.isinf(start_at) else start_at - now)
            return None

    def _answers(self, jobs: list[Job[D]]) -> list[Answer]:
        """Compute one batch. Where it fails, each frame is tried alone, so only the culprit pays."""
        if not jobs:
            return []
        start = self._clock()
        try:
            found = jobs[0].model.infer(jobs[0].mode, [_decoded(job) for job in jobs])
            end = self._clock()
            answers: list[Answer] = [
                detections_answer(job, one, start, end) for job, one in zip(jobs, found, strict=True)
            ]
        except Exception as error:
            if len(jobs) == 1:
                return [failure_answer(jobs[0], error)]
            return [answer for job in jobs for answer in self._answers([job])]
        self._observe(jobs[0].kind, len(jobs), end - start)
        self._batch_sizes[len(jobs)] += 1
        return answers

    def _observe(self, kind: Hashable, size: int, duration_s: float) -> None:
        with self._changed:
            self._batcher.observe(kind, size, duration_s)

    def _warm_up(self, model: Model[D], mode: Mode, batch: Sequence[D], counts: bool = False) -> None:
        start = self._clock()
        model.infer(mode, batch)
        if counts:
            self._observe(_kind(model, mode), len(batch), self._clock() - start)

    def _step(self, action: Callable[[], None]) -> None:
        """Run something on the engine's thread and wait for it. Raises what it raises, or DrainingError."""
        done: Future[None] = Future()
        with self._changed:
            if self._stopping:
                raise DrainingError("the server is shutting down")
            self._steps.append((action, done))
            self._changed.notify()
        try:
            done.result()
        except CancelledError:
            raise DrainingError("the server is shutting down") from None

    def _take_step(self) -> None:
        with self._changed:
            if not self._steps:
                return
            action, done = self._steps.popleft()
        if done.set_running_or_notify_cancel():
            try:
                action()
                done.set_result(None)
            except Exception as error:
                done.set_exception(error)


def warm_up_sizes(largest: int) -> list[int]:
    """Return the batch sizes to run before they are needed, the largest first: it allocates for all."""
    few = range(1, min(largest, WARM_UP_SIZES) + 1)
    many = (size for size in (1 << power for power in range(4, 11, 2)) if WARM_UP_SIZES < size < largest)
    return sorted({*few, *many, largest}, reverse=True)


def _kind(model: Model[Any], mode: Mode) -> Hashable:
    return model.digest, mode


def _not_started(*_: object) -> None:
    raise RuntimeError("the engine has not been started")


def _decoded(job: Job[D]) -> D:
    assert job.phase is Phase.TAKEN and job.decoded is not None
    return job.decoded
