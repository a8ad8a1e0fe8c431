"""Decoding: who costs much waits longer, and nobody takes all threads."""

from __future__ import annotations

from dataclasses import dataclass

from cloud_server.scheduling.decode_queue import DecodeQueue


@dataclass(frozen=True)
class Payload:
    session: str
    number: int = 0


def queue_of(*payloads: Payload) -> DecodeQueue[Payload]:
    queue: DecodeQueue[Payload] = DecodeQueue()
    for payload in payloads:
        queue.add(payload)
    return queue


def test_an_empty_queue_gives_nothing():
    assert queue_of().take() is None


def test_a_sessions_payloads_keep_their_order_and_come_one_at_a_time():
    first, second = Payload("a", 1), Payload("a", 2)
    queue = queue_of(first, second)
    assert queue.take() == first
    assert queue.take() is None
    queue.charge("a", 0.1)
    assert queue.take() == second


def test_who_has_cost_least_goes_next():
    queue = queue_of(*(Payload("costly", number) for number in range(10)))
    assert queue.take() == Payload("costly", 0)
    queue.charge("costly", 0.3)
    order = []
    for number in range(4):
        queue.add(Payload("cheap", number))
    while (taken := queue.take()) is not None and len(order) < 6:
        order.append(taken.session)
        queue.charge(taken.session, 0.3 if taken.session == "costly" else 0.001)
    assert order == ["cheap"] * 4 + ["costly"] * 2


def test_having_been_away_earns_no_credit():
    queue = queue_of(Payload("old"), Payload("old", 1), Payload("old", 2))
    for _ in range(2):
        assert queue.take() is not None
        queue.charge("old", 1.0)
    queue.take()
    queue.add(Payload("new"))
    queue.add(Payload("new", 1))
    assert queue.take() == Payload("new")
    queue.charge("new", 0.5)
    queue.charge("old", 1.0)
    queue.add(Payload("old", 3))
    assert queue.take() == Payload("new", 1)  # it began where the old one stood, at 2 s
    queue.charge("new", 1.0)
    assert queue.take() == Payload("old", 3)


def test_what_nobody_wants_any_more_is_gone():
    wanted, unwanted = Payload("a", 1), Payload("a", 2)
    queue = queue_of(unwanted, wanted)
    queue.discard(unwanted)
    queue.discard(unwanted)
    assert queue.take() == wanted
    queue.discard(wanted)  # too late: it is being decoded
    queue.charge("a", 0.1)
    assert queue.take() is None


def test_what_is_remembered_is_only_who_is_ahead():
    queue = queue_of()
    for number in range(100):
        queue.add(Payload(f"session {number}"))
    for number in range(100):
        assert queue.take() is not None
        queue.charge(f"session {number}", 0.0)
    assert not queue._members and not queue._busy and not queue._waiting
