"""The queue: bounded, one kind a batch, earliest deadline first, and whole whatever is cancelled."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_server.batcher import Batcher, Phase, Request
from splitnet.errors import ShedError
from splitnet.operating_point import Mode


def admitted(batcher: Batcher[Request], kind: Mode = Mode.SPLIT, deadline: float = math.inf, at: float = 0.0):
    request = Request(kind, arrived_at=at, deadline=deadline)
    batcher.admit(request)
    return request


def ready(batcher: Batcher[Request], kind: Mode = Mode.SPLIT, deadline: float = math.inf, at: float = 0.0):
    request = admitted(batcher, kind, deadline, at)
    batcher.ready(request)
    return request


def test_an_empty_queue_gives_an_empty_batch():
    batch = Batcher(4, 4).take(now=0.0)
    assert batch.requests == [] and batch.expired == []


def test_requests_without_deadlines_leave_in_order_of_arrival():
    batcher = Batcher(2, 8)
    late, early, middle = (ready(batcher, at=at) for at in (3.0, 1.0, 2.0))
    assert batcher.take(now=4.0).requests == [early, middle]
    assert batcher.take(now=4.0).requests == [late]


def test_the_earliest_deadline_goes_first():
    batcher = Batcher(1, 8)
    relaxed, urgent = ready(batcher, deadline=2.0, at=0.0), ready(batcher, deadline=1.0, at=0.5)
    assert batcher.take(now=0.6).requests == [urgent]
    assert batcher.take(now=0.6).requests == [relaxed]


def test_a_batch_holds_one_kind_and_the_other_follows():
    batcher = Batcher(8, 8)
    split, image, split_again = (ready(batcher, kind) for kind in (Mode.SPLIT, Mode.IMAGE, Mode.SPLIT))
    assert batcher.take(now=0.0).requests == [split, split_again]
    assert batcher.take(now=0.0).requests == [image]
    assert not batcher.has_ready


def test_the_kind_of_the_most_urgent_request_is_chosen():
    batcher = Batcher(8, 8)
    ready(batcher, Mode.SPLIT, deadline=5.0)
    image = ready(batcher, Mode.IMAGE, deadline=1.0)
    assert batcher.take(now=0.0).requests == [image]


def test_a_full_queue_sheds_and_says_so():
    batcher = Batcher(4, max_queue=2)
    admitted(batcher), ready(batcher)
    with pytest.raises(ShedError, match="2 frames wait"):
        batcher.admit(Request(Mode.SPLIT, 0.0))
    assert batcher.depth == 2


def test_a_shed_request_leaves_no_trace():
    batcher = Batcher(4, max_queue=1)
    first, shed = ready(batcher), Request(Mode.SPLIT, 0.0)
    with pytest.raises(ShedError):
        batcher.admit(shed)
    batcher.ready(shed)
    batcher.withdraw(shed)
    assert batcher.take(now=0.0).requests == [first]
    assert batcher.depth == 0


def test_a_request_still_being_decoded_is_not_taken():
    batcher = Batcher(4, 4)
    admitted(batcher)
    assert not batcher.has_ready
    assert batcher.take(now=0.0).requests == []
    assert batcher.depth == 1


def test_passed_deadlines_are_handed_out_as_expired():
    batcher = Batcher(4, 4)
    alive, late = ready(batcher, deadline=2.0), ready(batcher, Mode.IMAGE, deadline=1.0)
    batch = batcher.take(now=1.0)
    assert batch.requests == [alive] and batch.expired == [late]
    assert batcher.depth == 0


def test_expired_requests_do_not_take_room_in_the_batch():
    batcher = Batcher(1, 4)
    late, alive = ready(batcher, deadline=1.0), ready(batcher, deadline=9.0)
    batch = batcher.take(now=5.0)
    assert batch.requests == [alive] and batch.expired == [late]


def test_a_request_withdrawn_while_ready_does_not_harm_its_batch():
    batcher = Batcher(4, 4)
    first, gone, last = ready(batcher, at=0.0), ready(batcher, at=1.0), ready(batcher, at=2.0)
    batcher.withdraw(gone)
    assert batcher.take(now=3.0).requests == [first, last]
    assert gone.phase is Phase.WITHDRAWN


def test_a_request_withdrawn_while_decoding_never_becomes_ready():
    batcher = Batcher(4, 4)
    request = admitted(batcher)
    batcher.withdraw(request)
    batcher.ready(request)
    assert not batcher.has_ready and batcher.depth == 0


def test_withdrawing_twice_or_after_the_batch_frees_no_second_place():
    batcher = Batcher(4, 4)
    taken, withdrawn, waiting = ready(batcher), ready(batcher, Mode.IMAGE), admitted(batcher)
    batcher.take(now=0.0)
    for request in (taken, withdrawn, withdrawn):
        batcher.withdraw(request)
    assert taken.phase is Phase.TAKEN
    assert waiting.phase is Phase.ADMITTED and batcher.depth == 1


def test_a_freed_place_is_given_again():
    batcher = Batcher(4, max_queue=1)
    batcher.withdraw(admitted(batcher))
    assert ready(batcher).phase is Phase.READY


@given(
    st.lists(
        st.tuples(st.sampled_from(["admit", "ready", "withdraw", "take"]), st.integers(0, 9), st.booleans()),
        max_size=60,
    )
)
def test_every_admitted_request_leaves_exactly_once(steps):
    """Whatever the order of events, the depth counts those inside and no request leaves twice."""
    batcher: Batcher[Request] = Batcher(max_batch_size=3, max_queue=5)
    inside: list[Request] = []
    for now, (step, number, image) in enumerate(steps):
        known = inside[number] if number < len(inside) else None
        if step == "admit":
            request = Request(Mode.IMAGE if image else Mode.SPLIT, float(now), now + number)
            try:
                batcher.admit(request)
                inside.append(request)
            except ShedError:
                assert len(inside) == 5
        elif step == "ready" and known:
            batcher.ready(known)
        elif step == "withdraw" and known:
            batcher.withdraw(known)
            inside.remove(known)
        elif step == "take":
            batch = batcher.take(float(now))
            assert len(batch.requests) <= 3 and len({request.kind for request in batch.requests}) <= 1
            for request in batch.requests + batch.expired:
                inside.remove(request)  # raises if it left before
        assert batcher.depth == len(inside)
