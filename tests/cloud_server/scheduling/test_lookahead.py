"""The future of a queue."""

from __future__ import annotations

from cloud_server.scheduling.batcher import Request
from cloud_server.scheduling.lookahead import Limits, plan_batches


def requests(*deadlines: float, kind: str = "a") -> list[Request]:
    return [Request(kind, 0.0, deadline) for deadline in deadlines]


def bound_s(kind: object, size: int) -> float:
    return 1.0 + size


def test_batches_follow_one_another_and_the_last_is_as_small_as_it_is():
    order = requests(*[100.0] * 5)
    batches = plan_batches(order, 10.0, Limits(2, 2), bound_s)
    assert [batch.requests for batch in batches] == [order[:2], order[2:4], order[4:]]
    assert [batch.end for batch in batches] == [13.0, 16.0, 18.0]


def test_who_would_be_late_is_left_out_and_the_next_takes_the_place():
    order = requests(100.0, 2.0, 100.0, 100.0)
    batches = plan_batches(order, 0.0, Limits(2, 2), bound_s)
    assert [batch.requests for batch in batches] == [[order[0], order[2]], [order[3]]]


def test_a_first_batch_may_be_smaller_than_the_others():
    order = requests(2.0, 100.0, 100.0)
    assert [batch.requests for batch in plan_batches(order, 0.0, Limits(1, 2), bound_s)] == [order[:1], order[1:]]


def test_kinds_have_batches_of_their_own():
    a, b = requests(100.0, 100.0), requests(100.0, kind="b")
    batches = plan_batches([a[0], *b, a[1]], 0.0, Limits(2, 2), bound_s)
    assert [batch.requests for batch in batches] == [a, b] and batches[1].end == 5.0


def test_nothing_is_planned_for_nobody():
    assert plan_batches([], 0.0, Limits(2, 2), bound_s) == []
