"""Turns: who has had least goes first, and having been away earns no credit."""

from __future__ import annotations

from cloud_server.scheduling import fair_queue as module
from cloud_server.scheduling.batcher import Request
from cloud_server.scheduling.fair_queue import Turns


def stand(turns: Turns[Request], session: str, due: float = 1.0) -> Request:
    request = Request("kind", arrived_at=0.0, deadline=due, session=session)
    turns.add(request)
    return request


def serve(turns: Turns[Request], *requests: Request) -> None:
    turns.serve(requests)
    for request in requests:
        turns.remove(request)


def test_sessions_alternate_whatever_they_send():
    turns: Turns[Request] = Turns()
    flood = [stand(turns, "flood", due=1.0) for _ in range(3)]
    calm = [stand(turns, "calm", due=2.0) for _ in range(2)]
    assert turns.order(flood + calm) == [flood[0], calm[0], flood[1], calm[1], flood[2]]


def test_who_was_served_waits_for_who_was_not():
    turns: Turns[Request] = Turns()
    serve(turns, stand(turns, "a"))
    again, other = stand(turns, "a", due=0.1), stand(turns, "b")
    assert turns.order([again, other]) == [other, again]


def test_a_request_that_leaves_unserved_costs_its_session_no_turn():
    turns: Turns[Request] = Turns()
    turns.remove(stand(turns, "a"))
    again, other = stand(turns, "a", due=0.1), stand(turns, "b")
    assert turns.order([again, other]) == [again, other] and len(turns) == 2


def test_a_newcomer_starts_where_the_others_stand():
    turns: Turns[Request] = Turns()
    for _ in range(100):
        serve(turns, stand(turns, "old"))
    old = [stand(turns, "old", due=0.1) for _ in range(3)]
    new = [stand(turns, "new") for _ in range(3)]
    assert turns.order(old + new) == [new[0], old[0], new[1], old[1], new[2], old[2]]


def test_the_last_is_the_newest_of_the_session_that_waits_most():
    turns: Turns[Request] = Turns()
    assert turns.last() is None
    flood = [stand(turns, "flood") for _ in range(3)]
    stand(turns, "calm")
    assert turns.last() == (2.0, flood[2]) and turns.tag_of_next("calm") == 1.0


def test_sessions_that_come_once_are_not_remembered_for_ever(monkeypatch):
    monkeypatch.setattr(module, "MAX_REMEMBERED", 10)
    turns: Turns[Request] = Turns()
    for number in range(1000):
        serve(turns, stand(turns, f"session {number}"))
    assert len(turns._finished) <= 10 and not turns._queues
