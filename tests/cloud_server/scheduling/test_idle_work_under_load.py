"""Idle work of the engine: a new bundle warms up under load without any frame paying for it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from cloud_server.scheduling.batcher import Batch, Batcher, Phase, Request
from cloud_server.scheduling.idle_work import PATIENCE_S, IdleTask, Verdict, WorkQueue, warm_up_runs

GOLDEN = 0.618034


def work_queue(max_batch_size: int = 8) -> WorkQueue[Request]:
    return WorkQueue(Batcher(max_batch_size, 64))


def waiting(one: WorkQueue[Request], now: float, deadline: float = math.inf) -> Request:
    request = Request("a", now, deadline)
    one.admit(request)
    return request


def test_nothing_is_due_and_never_will_be_when_nothing_waits():
    empty = work_queue()
    assert empty.next(0.0) is None and empty.wake_at(0.0) == math.inf


def test_a_batch_is_due_when_its_frames_are_decoded():
    one = work_queue()
    request = waiting(one, 1.0)
    assert one.next(1.0) is None
    one.batcher.ready(request, 1.5)
    assert one.wake_at(1.5) <= 1.5
    due = one.next(1.5)
    assert isinstance(due, Batch) and due.requests == [request]


def test_an_idle_task_waits_while_a_frame_is_decoded_or_ready():
    one, task = work_queue(), IdleTask(lambda: None, 0.0)
    request = waiting(one, 0.0)
    one.add(task)
    assert one.next(0.0) is None and one.wake_at(0.0) == PATIENCE_S
    one.batcher.ready(request, 0.1)
    assert isinstance(one.next(0.1), Batch)
    assert one.next(0.2) == (task, Verdict.TAKE)


def test_an_idle_task_that_has_waited_long_enough_goes_first_but_once():
    one, task = work_queue(), IdleTask(lambda: None, 0.0)
    one.add(task)
    one.batcher.ready(waiting(one, PATIENCE_S), PATIENCE_S)
    assert one.next(PATIENCE_S) == (task, Verdict.TAKE)
    assert isinstance(one.next(PATIENCE_S), Batch)


def test_an_optional_idle_task_that_no_frame_could_bear_is_dropped():
    one = work_queue()
    one.batcher.observe("a", 1, 0.1)
    one.batcher.withdraw(waiting(one, 0.0, deadline=0.5))
    for expected_s, fate in ((0.19, Verdict.TAKE), (0.21, Verdict.DROP)):
        task = IdleTask(lambda: None, 0.0, expected_s, optional=True)
        one.add(task)
        assert one.next(0.0) == (task, fate)


def test_tasks_that_wait_can_be_called_off():
    one, tasks = work_queue(), [IdleTask(lambda: None, 0.0) for _ in range(2)]
    for task in tasks:
        one.add(task)
    assert one.clear() == tasks and one.next(0.0) is None


@dataclass
class Site:
    """A server in virtual time: its engine works off its queue while devices send, each at a steady pace."""

    load: float  # share of what the engine can do, one frame at a time
    frame_s: float = 0.075  # that each frame of a batch takes
    deadline_s: float = 0.5
    devices: int = 25
    max_batch_size: int = 8
    work: WorkQueue[Request] = field(init=False)
    now: float = 0.0
    sent: int = 0
    lost: int = 0  # late, expired or refused
    adopted_at: float | None = None
    sizes: list[int] = field(default_factory=list)  # of blank batches that ran

    def __post_init__(self) -> None:
        self.work = work_queue(self.max_batch_size)
        for size in range(1, self.max_batch_size + 1):
            self.work.batcher.observe("a", size, size * self.frame_s)

    def run(self, seconds: float, adopt_at: float, each_size_differs: bool) -> None:
        """Serve for a while; meanwhile a model is warmed up as the engine does it."""
        arrivals, warming = self._arrivals(seconds), self._warming(each_size_differs)
        arrival, task = next(arrivals), None
        while self.now < seconds:
            while arrival <= self.now:
                self._admit(arrival)
                arrival = next(arrivals)
            if self.now >= adopt_at and self.adopted_at is None and (task is None or task.done.done()):
                task = self._next_task(warming)
            due = self.work.next(self.now)
            if due is None:
                moments = (arrival, self.work.wake_at(self.now), adopt_at if self.now < adopt_at else math.inf)
                self.now = max(self.now, min(moments))
            elif isinstance(due, Batch):
                self._compute(due)
            else:
                due[0].settle(due[1])

    def _arrivals(self, seconds: float) -> Iterator[float]:
        period = self.devices * self.frame_s / self.load
        counts = range(int(seconds / period) + 2)
        yield from sorted(
            (count + number * GOLDEN % 1.0) * period for count in counts for number in range(self.devices)
        )

    def _admit(self, at: float) -> None:
        request = Request("a", at, at + self.deadline_s, session=self.sent % self.devices)
        self.sent += 1
        self.work.admit(request)
        self.work.batcher.ready(request, self.now)

    def _compute(self, batch: Batch[Request]) -> None:
        self.lost += len(batch.expired) + len(batch.hopeless)
        if batch.requests:
            duration_s = len(batch.requests) * self.frame_s
            self.work.batcher.observe("a", len(batch.requests), duration_s)
            self.now += duration_s
            self.lost += sum(self.now > request.deadline for request in batch.requests)
            assert {request.phase for request in batch.requests} == {Phase.TAKEN}

    def _warming(self, each_size_differs: bool) -> Iterator[tuple[int, bool]]:
        for run in warm_up_runs(self.max_batch_size, each_size_differs):
            yield run.size, run.size > 1

    def _next_task(self, warming: Iterator[tuple[int, bool]]) -> IdleTask | None:
        size, optional = next(warming, (0, False))
        if not size:
            self.adopted_at = self.now
            return None
        task = IdleTask(lambda: self._warm_up(size), self.now, self.work.batcher.bound_s(size), optional)
        self.work.add(task)
        return task

    def _warm_up(self, size: int) -> None:
        self.sizes.append(size)
        self.now += size * self.frame_s


@pytest.mark.parametrize("each_size_differs", [False, True])
@pytest.mark.parametrize("load", [0.1, 0.25, 0.5, 0.8])
def test_no_frame_is_lost_while_another_bundle_warms_up(load, each_size_differs):
    site = Site(load)
    site.run(40.0, adopt_at=5.0, each_size_differs=each_size_differs)
    assert site.sent > 40 and site.lost == 0
    assert site.adopted_at is not None and site.adopted_at < 20.0
    assert site.sizes[0] == 1 and max(site.sizes) <= 2  # a batch of three takes 225 ms: more than can be spared


def test_without_frames_every_size_warms_up():
    site = Site(0.001, devices=1)
    site.run(30.0, adopt_at=20.0, each_size_differs=False)
    assert site.sizes == [1, 1, 2, 4, 8] and site.lost == 0


def test_a_warm_up_of_all_sizes_at_once_would_have_lost_frames():
    """Show that the simulated site can lose frames at all."""
    site = Site(0.5)
    site.work.add(IdleTask(lambda: site._warm_up(8), 0.0))
    site.run(10.0, adopt_at=math.inf, each_size_differs=False)
    assert site.lost > 0


def test_a_server_without_a_pause_takes_the_necessary_tasks_in_the_end():
    site = Site(1.5)
    site.run(30.0, adopt_at=5.0, each_size_differs=False)
    assert site.sizes == [1, 1] and site.adopted_at is not None
    assert site.adopted_at < 5.0 + 6 * PATIENCE_S
