"""Turns: who has had least goes first, and having been away earns no credit."""

from __future__ import annotations

from cloud_server.scheduling import virtual_time as module
from cloud_server.scheduling.batcher import Request
from cloud_server.scheduling.fair_queue import FairQueue
from cloud_server.scheduling.payer import Payer


def stand(queue: FairQueue[Request], session: str | Payer, due: float = 1.0) -> Request:
    request = Request("kind", arrived_at=0.0, deadline=due, session=session)
    queue.add(request)
    return request


def serve(queue: FairQueue[Request], *requests: Request) -> None:
    queue.serve(requests)
    for request in requests:
        queue.remove(request)


def test_sessions_alternate_whatever_they_send():
    queue: FairQueue[Request] = FairQueue()
    flood = [stand(queue, "flood", due=1.0) for _ in range(3)]
    calm = [stand(queue, "calm", due=2.0) for _ in range(2)]
    assert queue.order(flood + calm) == [flood[0], calm[0], flood[1], calm[1], flood[2]]


def test_who_was_served_waits_for_who_was_not():
    queue: FairQueue[Request] = FairQueue()
    serve(queue, stand(queue, "a"))
    again, other = stand(queue, "a", due=0.1), stand(queue, "b")
    assert queue.order([again, other]) == [other, again]


def test_a_request_that_leaves_unserved_costs_its_session_no_turn():
    queue: FairQueue[Request] = FairQueue()
    queue.remove(stand(queue, "a"))
    again, other = stand(queue, "a", due=0.1), stand(queue, "b")
    assert queue.order([again, other]) == [again, other] and len(queue) == 2


def test_a_newcomer_starts_where_the_others_stand():
    queue: FairQueue[Request] = FairQueue()
    for _ in range(100):
        serve(queue, stand(queue, "old"))
    old = [stand(queue, "old", due=0.1) for _ in range(3)]
    new = [stand(queue, "new") for _ in range(3)]
    assert queue.order(old + new) == [new[0], old[0], new[1], old[1], new[2], old[2]]


def test_the_last_is_the_newest_of_the_session_that_waits_most():
    queue: FairQueue[Request] = FairQueue()
    assert queue.who_gives_way("calm") is None
    flood = [stand(queue, "flood") for _ in range(3)]
    stand(queue, "calm")
    assert queue.who_gives_way("calm") is flood[2] and queue.who_gives_way("flood") is None


def test_sessions_that_come_once_are_not_remembered_for_ever(monkeypatch):
    monkeypatch.setattr(module, "MAX_REMEMBERED", 10)
    queue: FairQueue[Request] = FairQueue()
    for number in range(1000):
        serve(queue, stand(queue, f"session {number}"))
    assert len(queue._groups._ahead) <= 10 and not queue._queues and len(queue._members) <= 10


def test_an_address_with_many_names_has_one_share():
    queue: FairQueue[Request] = FairQueue()
    invented = [stand(queue, Payer("192.0.2.9", f"name {number}")) for number in range(4)]
    honest = [stand(queue, Payer("192.0.2.1", "camera")) for _ in range(2)]
    assert queue.order(invented + honest) == [
        invented[0],
        honest[0],
        invented[1],
        honest[1],
        invented[2],
        invented[3],
    ]
    serve(queue, invented[0], invented[1])
    new_name = stand(queue, Payer("192.0.2.9", "one more"), due=0.1)
    assert queue.order([new_name, honest[0]]) == [honest[0], new_name]


def test_the_names_of_an_address_share_what_it_has():
    queue: FairQueue[Request] = FairQueue()
    flood = [stand(queue, Payer("192.0.2.9", "flood"), due=0.5) for _ in range(3)]
    calm = stand(queue, Payer("192.0.2.9", "calm"))
    assert queue.order([*flood, calm]) == [flood[0], calm, *flood[1:]]
    assert queue.who_gives_way(Payer("192.0.2.9", "calm")) is flood[2]
    assert queue.who_gives_way(Payer("192.0.2.9", "flood")) is None
    assert queue.who_gives_way(Payer("192.0.2.1", "camera")) is flood[2]
