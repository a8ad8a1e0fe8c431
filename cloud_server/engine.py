"""The engine: decodes frames in a small thread pool and computes them in batches, one at a time in each lane.

Frames come from the event loop and answers go back to it, with one wake-up of the loop per batch. A lane is a thread,
and only lanes call a model's `infer`. There is one where this machine computes, so it owns torch and the accelerator;
where others compute, a lane waits for each batch that is under way. Models come and go while it runs: a new one is
warmed up step by step, in the moments when no frame waits.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, TypeVar

from cloud_server.job import (
    Answer,
    Job,
    Model,
    OnAnswer,
    detections_answer,
    expired_answer,
    failure_answer,
    hand_over,
    hopeless_answer,
)
from cloud_server.scheduling.batch_cost import BatchCost
from cloud_server.scheduling.batcher import Batch, Batcher, Phase
from cloud_server.scheduling.decode_queue import DecodeQueue
from cloud_server.scheduling.idle_work import IdleTask, Verdict, WarmUpRun, WorkQueue, warm_up_runs
from splitnet.codec.references import ReferenceStore
from splitnet.errors import DrainingError, ShedError
from splitnet.messages import Frame
from splitnet.operating_point import Mode

MAX_PER_SESSION = 8  # frames of one session that may wait; a device needs one or two

D = TypeVar("D")  # a decoded frame, which only the model looks into


class Engine(Generic[D]):
    """Answers frames with models."""

    def __init__(
        self,
        max_batch_size: int,
        max_queue: int,
        decode_threads: int = 2,
        clock: Callable[[], float] = time.monotonic,
        lanes: int = 1,
    ) -> None:
        """Take the largest batch, the longest queue, the threads that decode, a clock in seconds, and most lanes."""
        self._max_batch_size = max_batch_size
        self._clock = clock
        self._batcher: Batcher[Job[D]] = Batcher(max_batch_size, max_queue, MAX_PER_SESSION)
        self._work = WorkQueue(self._batcher)
        self._undecoded: DecodeQueue[Job[D]] = DecodeQueue(decode_threads)
        self._changed = threading.Condition()  # guards all of them and _stopping
        self._first_runs = BatchCost()  # of any model: what runs for the first time takes longer
        self._stopping = False
        self._decoders = ThreadPoolExecutor(decode_threads, thread_name_prefix="decode")
        names = ["engine", *(f"engine {number}" for number in range(2, lanes + 1))]
        self._threads = [threading.Thread(target=self._run, name=name, daemon=True) for name in names]
        self._lanes = lanes  # that may be under way at once
        self._busy = 0  # those that are
        self._call_soon: Callable[..., Any] = _not_started
        self._batch_sizes: Counter[int] = Counter()

    def start(self, call_soon: Callable[..., Any]) -> None:
        """Start the lanes. call_soon: how answers reach the event loop, its `call_soon_threadsafe`."""
        self._call_soon = call_soon
        for thread in self._threads:
            thread.start()

    def use_lanes(self, lanes: int) -> None:
        """Let at most so many batches be under way at once: from one to as many as there are threads."""
        with self._changed:
            self._lanes = min(max(1, lanes), len(self._threads))
            self._changed.notify_all()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Let current batches finish, drop the rest, and wait for the lanes at most timeout_s."""
        self._decoders.shutdown(wait=False, cancel_futures=True)
        with self._changed:
            self._stopping = True
            for task in self._work.clear():
                task.done.cancel()
            self._changed.notify_all()
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, until - time.monotonic()))

    @property
    def depth(self) -> int:
        """The number of frames that wait."""
        return self._batcher.depth

    @property
    def expected_s(self) -> float:
        """How long the frames that wait and one more take at most, as far as batches have told."""
        with self._changed:
            return self._batcher.bound_s(min(self._batcher.depth + 1, self._max_batch_size))

    @property
    def batch_sizes(self) -> dict[int, int]:
        """How many batches of each size were computed."""
        return dict(sorted(self._batch_sizes.items()))

    def adopt(self, model: Model[D]) -> None:
        """Warm a model up and learn what its batches cost; blocks, while frames of other models are served.

        The smallest batches come first. Those that would make frames late are left to the first batch of that size.
        Raises what the model raises, and DrainingError if the engine stops meanwhile.
        """
        self._do_when_idle(model.prepare)
        for mode in model.modes:
            blank = model.blank(mode)
            for run in warm_up_runs(self._max_batch_size, model.each_size_differs):
                action = partial(self._warm_up, model, mode, [blank] * run.size, run.first)
                if not self._do_when_idle(action, self._expected_s(run), optional=run.size > 1):
                    break

    def submit(
        self,
        model: Model[D],
        frame: Frame,
        on_answer: OnAnswer,
        session: Hashable = None,
        references: ReferenceStore | None = None,
    ) -> Job[D]:
        """Take a frame in. Called on the event loop. Raises ShedError when there is no room for it.

        session: whoever shares the engine with others, and pays for what its frames cost. references: the earlier
        frames of its session that it may build on.
        """
        now = self._clock()
        deadline = now + frame.deadline_ms / 1000 if frame.deadline_ms else math.inf
        kind = _kind(model, frame.operating_point.mode)
        job: Job[D] = Job(
            kind, now, deadline, session, model=model, frame=frame, on_answer=on_answer, references=references
        )
        with self._changed:
            displaced = self._work.admit(job)
            job.queue_depth = self._batcher.depth
            self._undecoded.add(job)
            if displaced is not None:
                self._undecoded.discard(displaced)
        if displaced is not None:
            message = "the server is busy: the frame gave way to that of a session with fewer. Send fewer"
            self._call_soon(hand_over, [(displaced, failure_answer(displaced, ShedError(message)))])
        self._decoders.submit(self._decode_waiting)
        return job

    def cancel(self, job: Job[D]) -> None:
        """Forget a frame, wherever it is: its answer is dropped. Called on the event loop."""
        job.cancelled = True
        with self._changed:
            self._withdraw(job)

    def _decode_waiting(self) -> None:
        """Decode whatever may be decoded now; sessions pay for what theirs costs."""
        while (job := self._next_undecoded()) is not None:
            start = self._clock()
            self._decode(job)
            with self._changed:
                self._undecoded.charge(job.session, self._clock() - start)

    def _next_undecoded(self) -> Job[D] | None:
        with self._changed:
            return None if self._stopping else self._undecoded.take()

    def _decode(self, job: Job[D]) -> None:
        if job.phase is not Phase.ADMITTED:
            return
        start = self._clock()
        try:
            job.decoded = job.model.decode(job.frame, job.references)
        except Exception as error:
            with self._changed:
                was_waiting = job.phase is Phase.ADMITTED  # else it gave way, and has its answer
                self._withdraw(job)
            if was_waiting:
                self._call_soon(hand_over, [(job, failure_answer(job, error))])
            return
        job.decode_s = self._clock() - start
        with self._changed:
            self._batcher.ready(job, self._clock())
            self._changed.notify()

    def _withdraw(self, job: Job[D]) -> None:
        self._undecoded.discard(job)
        self._batcher.withdraw(job)
        if not self._batcher.depth:
            self._changed.notify()  # a task may have waited for that

    def _run(self) -> None:
        while self._do_next():
            with self._changed:
                self._busy -= 1
                self._changed.notify()  # a lane that waited for one to be free

    def _do_next(self) -> bool:
        """Do what is due; returns False when the engine stops. Nothing of a batch is held once it is done."""
        due = self._next()
        if due is None:
            return False
        if isinstance(due, Batch):
            self._compute(due)
        else:
            task, verdict = due
            task.settle(verdict)
        return True

    def _next(self) -> Batch[Job[D]] | tuple[IdleTask, Verdict] | None:
        """Wait until a lane is free and a batch or an idle task is due. None when the engine stops."""
        with self._changed:
            while not self._stopping:
                now = self._clock()
                wake_at = math.inf
                if self._busy < self._lanes:
                    if (due := self._work.next(now)) is not None:
                        self._busy += 1
                        return due
                    wake_at = self._work.wake_at(now)
                self._changed.wait(None if math.isinf(wake_at) else wake_at - now)
            return None

    def _compute(self, batch: Batch[Job[D]]) -> None:
        answers: list[Answer] = [expired_answer(job) for job in batch.expired]
        answers += [hopeless_answer(job) for job in batch.hopeless]
        answers += self._answers(batch.requests)
        jobs = batch.expired + batch.hopeless + batch.requests
        if jobs:
            self._call_soon(hand_over, list(zip(jobs, answers, strict=True)))

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

    def _warm_up(self, model: Model[D], mode: Mode, batch: Sequence[D], first: bool) -> None:
        start = self._clock()
        model.infer(mode, batch)
        duration_s = self._clock() - start
        if first:
            self._first_runs.observe(len(batch), duration_s)
        else:
            self._observe(_kind(model, mode), len(batch), duration_s)

    def _expected_s(self, run: WarmUpRun) -> float:
        """Return how long a run takes, as far as other models and smaller batches tell."""
        with self._changed:
            expected_s = self._batcher.bound_s(run.size)
        return max(expected_s, self._first_runs.bound_s(run.size)) if run.first else expected_s

    def _do_when_idle(self, action: Callable[[], None], expected_s: float = 0.0, optional: bool = False) -> bool:
        """Let something be done on the engine's thread and wait for it; returns whether it was done.

        Raises what it raises, or DrainingError.
        """
        task = IdleTask(action, self._clock(), expected_s, optional)
        with self._changed:
            if self._stopping:
                raise DrainingError("the server is shutting down")
            self._work.add(task)
            self._changed.notify()
        try:
            return task.done.result()
        except CancelledError:
            raise DrainingError("the server is shutting down") from None


def _kind(model: Model[Any], mode: Mode) -> Hashable:
    return model.computed_as, mode


def _not_started(*_: object) -> None:
    raise RuntimeError("the engine has not been started")


def _decoded(job: Job[D]) -> D:
    assert job.phase is Phase.TAKEN and job.decoded is not None
    return job.decoded
