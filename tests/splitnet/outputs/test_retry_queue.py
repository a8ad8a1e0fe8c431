"""Deliveries to a webhook on a fake clock: order, pauses, bounds."""

from __future__ import annotations

import pytest

from splitnet.backoff import Backoff
from splitnet.outputs.retry_queue import MAX_AGE_S, MAX_WAITING, RetryQueue, verdict_of


def queue() -> RetryQueue:
    return RetryQueue(Backoff(lambda: 1.0, first_s=1.0, ceiling_s=4.0))


def test_deliveries_go_out_in_their_order():
    one = queue()
    for body in (b"1", b"2"):
        one.put(0, body)
    sent = []
    while (delivery := one.due(0)) is not None:
        sent.append((delivery.number, delivery.body))
        one.settle(0, delivery, 200)
    assert sent == [(1, b"1"), (2, b"2")]
    assert (one.delivered, one.wait_s(0)) == (2, None)


def test_pauses_grow_and_begin_anew_after_a_success():
    one = queue()
    one.put(0, b"1")
    now, pauses = 0.0, []
    for _ in range(4):
        delivery = one.due(now)
        assert delivery is not None
        assert one.settle(now, delivery, None) == "later"
        assert one.due(now) is None
        pauses.append(one.wait_s(now))
        now += pauses[-1] or 0
    assert pauses == [1, 2, 4, 4]
    delivery = one.due(now)
    assert delivery is not None and delivery.number == 1
    one.settle(now, delivery, 204)
    one.put(now, b"2")
    delivery = one.due(now)
    assert delivery is not None
    one.settle(now, delivery, 500)
    assert one.wait_s(now) == 1


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *((status, "taken") for status in (200, 204)),
        *((status, "refused") for status in (301, 400, 404)),
        *((status, "later") for status in (408, 429, 500, 503, None)),
    ],
)
def test_what_becomes_of_a_delivery_follows_from_the_status(status, verdict):
    assert verdict_of(status) == verdict


def test_what_is_refused_makes_room_for_the_next():
    one = queue()
    one.put(0, b"bad")
    one.put(0, b"good")
    delivery = one.due(0)
    assert delivery is not None
    assert one.settle(0, delivery, 400) == "refused"
    assert one.due(0).body == b"good"
    assert one.dropped == 1


def test_of_too_many_the_oldest_are_dropped():
    one = queue()
    for number in range(MAX_WAITING + 5):
        one.put(0, str(number).encode())
    assert (len(one), one.dropped, one.due(0).body) == (MAX_WAITING, 5, b"5")


def test_what_had_to_make_room_while_it_was_posted_takes_no_other_with_it():
    one = queue()
    one.put(0, b"first")
    delivery = one.due(0)
    for number in range(MAX_WAITING):
        one.put(0, str(number).encode())
    one.settle(0, delivery, 200)
    assert len(one) == MAX_WAITING


def test_what_is_too_old_is_dropped():
    one = queue()
    one.put(0, b"old")
    one.put(60, b"newer")
    assert one.due(MAX_AGE_S + 1).body == b"newer"
    assert one.dropped == 1
