"""The queue: bounded, one kind a batch, earliest deadline first, and whole whatever is cancelled."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_server.scheduling.batcher import Batcher, Phase, Request
from splitnet.errors import ShedError
from splitnet.operating_point import Mode


def admitted(batcher: Batcher[Request], kind: Mode = Mode.SPLIT, deadline: float = math.inf, at: float = 0.0):
    request = Request(kind, arrived_at=at, deadline=deadline)
    batcher.admit(request)
    return request


def ready(batcher: Batcher[Request], kind: Mode = Mode.SPLIT, deadline: float = math.inf, at: float = 0.0):
    request = admitted(batcher, kind, deadline, at)
    batcher.ready(request, at)
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
    assert batcher.take(now=0.0).requests == []


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
    batcher.ready(shed, 0.0)
    batcher.withdraw(shed)
    assert batcher.take(now=0.0).requests == [first]
    assert batcher.depth == 0


def test_a_request_still_being_decoded_is_not_taken():
    batcher = Batcher(4, 4)
    admitted(batcher)
    assert batcher.start_at(0.0) == math.inf
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
    batcher.ready(request, 0.0)
    assert batcher.start_at(0.0) == math.inf and batcher.depth == 0


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
            batcher.ready(known, float(now))
        elif step == "withdraw" and known:
            batcher.withdraw(known)
            inside.remove(known)
        elif step == "take":
            batch = batcher.take(float(now))
            assert len(batch.requests) <= 3 and len({request.kind for request in batch.requests}) <= 1
            for request in batch.requests + batch.expired:
                inside.remove(request)  # raises if it left before
        assert batcher.depth == len(inside)


PER_FRAME_S, FIXED_S = 0.01, 0.01


def taught(max_batch_size: int = 4, max_queue: int = 64, per_frame_s: float = PER_FRAME_S, fixed_s: float = FIXED_S):
    """Return a batcher that knows what batches cost."""
    batcher: Batcher[Request] = Batcher(max_batch_size, max_queue)
    for size in [1, 2, 4, 8] * 10:
        batcher.observe(Mode.SPLIT, size, fixed_s + per_frame_s * size)
    return batcher


def sent(batcher: Batcher[Request], session: str, at: float, deadline: float = math.inf) -> Request:
    """Admit a frame and make it ready at once."""
    request = Request(Mode.SPLIT, at, deadline, session)
    batcher.admit(request)
    batcher.ready(request, at)
    return request


def test_who_would_be_late_is_told_so_before_anything_is_computed():
    batcher = taught()
    late, alive = sent(batcher, "a", 0.0, deadline=0.015), sent(batcher, "b", 0.0, deadline=0.5)
    batch = batcher.take(now=0.001)
    assert (batch.requests, batch.hopeless, batch.expired) == ([alive], [late], [])


def test_a_batch_is_small_enough_for_the_most_urgent_if_that_serves_more():
    batcher = taught()
    urgent = sent(batcher, "a", 0.0, deadline=0.022)
    relaxed = [sent(batcher, name, 0.0, deadline=1.0) for name in "bcd"]
    assert batcher.take(now=0.0).requests == [urgent]
    assert batcher.take(now=0.02).requests == relaxed


def test_a_batch_is_full_where_a_small_one_would_only_make_more_frames_late():
    batcher = taught()
    urgent = sent(batcher, "a", 0.0, deadline=0.022)
    others = [sent(batcher, name, 0.0, deadline=0.052) for name in "bcde"]
    assert batcher.take(now=0.0).requests == others
    assert batcher.take(now=0.05).expired == [urgent]


def test_when_not_all_can_be_in_time_sessions_take_turns():
    batcher = taught(max_batch_size=2)
    flood = [sent(batcher, "flood", 0.0, deadline=0.06) for _ in range(6)]
    calm = sent(batcher, "calm", 0.0, deadline=0.07)
    assert batcher.take(now=0.0).requests == [flood[0], calm]


def test_an_idle_engine_tries_even_what_it_believes_to_be_late():
    batcher = taught()
    for now in (0.0, 0.1, 0.2):
        frames = [sent(batcher, name, now, deadline=now + late) for name, late in (("a", 0.004), ("b", 0.005))]
        batch = batcher.take(now)
        assert (batch.requests, batch.hopeless) == ([frames[1]], [frames[0]])


def test_a_full_queue_makes_room_for_a_session_that_has_less():
    batcher = taught(max_queue=3)
    flood = [sent(batcher, "flood", 0.0) for _ in range(3)]
    calm = Request(Mode.SPLIT, 0.0, session="calm")
    assert batcher.admit(calm) is flood[2]
    assert flood[2].phase is Phase.WITHDRAWN and batcher.depth == 3
    with pytest.raises(ShedError, match="3 frames wait"):
        batcher.admit(Request(Mode.SPLIT, 0.0, session="flood"))


def test_a_session_has_its_own_bound():
    batcher: Batcher[Request] = Batcher(4, 64, max_per_session=2)
    sent(batcher, "a", 0.0), sent(batcher, "a", 0.0)
    with pytest.raises(ShedError, match="2 frames of this session"):
        batcher.admit(Request(Mode.SPLIT, 0.0, session="a"))
    sent(batcher, "b", 0.0)


def test_nothing_is_waited_for_where_a_batch_costs_what_its_frames_cost():
    batcher = taught(fixed_s=0.0)
    for index in range(3):
        now = index * 0.001
        sent(batcher, "a", now)
        assert batcher.start_at(now) <= now


def test_the_next_frame_is_waited_for_as_long_as_that_pays():
    batcher = taught(per_frame_s=0.001, fixed_s=0.1)
    for index in range(4):  # frames come every 5 ms
        sent(batcher, "a", index * 0.005)
    batcher.take(now=0.015)
    sent(batcher, "a", 0.020)
    assert batcher.start_at(0.020) == pytest.approx(0.020 + (0.1 - 0.001) / 2, rel=0.05)
    for index in range(5, 8):
        sent(batcher, "a", index * 0.005)
    assert batcher.start_at(0.035) == 0.035  # full


def test_waiting_never_makes_a_frame_late():
    batcher = taught(per_frame_s=0.001, fixed_s=0.1)
    for index in range(4):
        sent(batcher, "a", index * 0.005)
    batcher.take(now=0.015)
    sent(batcher, "a", 0.020, deadline=0.150)
    assert batcher.start_at(0.020) == pytest.approx(0.150 - 0.102, abs=0.002)


def test_a_frame_that_nobody_follows_is_not_kept_waiting():
    batcher = taught(per_frame_s=0.001, fixed_s=0.1)
    for now in (0.0, 1.0, 2.0):
        sent(batcher, "a", now)
        assert batcher.start_at(now) == now
        batcher.take(now)


def test_an_empty_queue_starts_nothing():
    assert Batcher(4, 4).start_at(1.0) == math.inf


class Camera:
    """Sends a frame every `period_s`, from `phase_s` on."""

    def __init__(self, name: str, period_s: float, phase_s: float, deadline_s: float = math.inf) -> None:
        self.name, self.deadline_s = name, deadline_s
        self.period_s, self.next_at = period_s, phase_s
        self.sent = self.in_time = 0


def simulate(cameras: list[Camera], seconds: float, max_queue: int = 64) -> float:
    """Serve cameras in virtual time, batches costing exactly what was taught; returns good frames a second."""
    batcher, now = taught(max_batch_size=8, max_queue=max_queue), 0.0
    while now < seconds:
        for camera in sorted(cameras, key=lambda camera: camera.next_at):
            while camera.next_at <= now:
                camera.sent += 1
                request = Request(Mode.SPLIT, camera.next_at, camera.next_at + camera.deadline_s, camera.name)
                camera.next_at += camera.period_s
                try:
                    batcher.admit(request)
                except ShedError:
                    continue
                batcher.ready(request, now)
        start_at = batcher.start_at(now)
        if start_at > now:
            now = min(start_at, *(camera.next_at for camera in cameras))
            continue
        size = len(batch := batcher.take(now).requests)
        if batch:
            now += FIXED_S + PER_FRAME_S * size
            batcher.observe(Mode.SPLIT, size, FIXED_S + PER_FRAME_S * size)
        for request in batch:
            camera = next(camera for camera in cameras if camera.name == request.session)
            camera.in_time += request.deadline >= now - 1e-9
    return sum(camera.in_time for camera in cameras) / seconds


LIMIT = 8 / (FIXED_S + 8 * PER_FRAME_S)  # frames a second in full batches


def jain(cameras: list[Camera]) -> float:
    served = [camera.in_time for camera in cameras]
    return sum(served) ** 2 / (len(served) * sum(one**2 for one in served))


@pytest.mark.parametrize("load", [1.5, 2.0, 4.0])
def test_goodput_does_not_collapse_under_any_load(load):
    count = 40
    period_s = count / (load * LIMIT)
    cameras = [Camera(str(i), period_s, i * period_s / count, deadline_s=0.3) for i in range(count)]
    assert simulate(cameras, 20.0) > 0.95 * LIMIT
    assert jain(cameras) > 0.95


def test_cameras_that_all_fire_at_once_are_served_alike():
    cameras = [Camera(str(i), 1.0, 0.0, deadline_s=0.5) for i in range(200)]
    simulate(cameras, 60.0)
    assert jain(cameras) > 0.95


def test_a_camera_that_floods_takes_nothing_from_the_others():
    calm = [Camera(str(i), 0.2, i * 0.02, deadline_s=0.3) for i in range(10)]
    flood = Camera("flood", 1 / 600, 0.0, deadline_s=0.3)
    simulate([*calm, flood], 10.0)
    assert all(camera.in_time >= 0.95 * camera.sent - 1 for camera in calm)
    assert flood.in_time > 0.75 * 10 * (LIMIT - 50)


def test_frames_without_a_deadline_neither_starve_nor_starve_others():
    patient = [Camera(f"patient {i}", 0.1, 0.0) for i in range(10)]
    urgent = [Camera(f"urgent {i}", 0.1, 0.0, deadline_s=0.2) for i in range(10)]
    simulate(patient + urgent, 20.0)
    assert jain(patient + urgent) > 0.9
    assert min(camera.in_time for camera in patient + urgent) > 0.4 * 20.0 * LIMIT / 20
