"""Frames whose layers are still coming, by a clock and timers of the test's own."""

from __future__ import annotations

import gc
import weakref
from dataclasses import dataclass, field, replace

import pytest

from cloud_server.layered_frames import LONGEST_DEADLINE_S, LONGEST_WAIT_S, MARGIN_S, LayeredFrames
from splitnet.messages import MAX_PAYLOAD_BYTES, Frame, Layer
from splitnet.operating_point import Codec, OperatingPoint

COMPUTE_S = 0.020
FRAME = Frame(1, 1000, OperatingPoint(Codec.RANS, 1, 1), b"one", 640, 480, deadline_ms=200, layers=3)


@dataclass
class Timer:
    due: float
    action: object
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class World:
    """A clock, its timers, and what was computed when."""

    now: float = 50.0
    timers: list[Timer] = field(default_factory=list)
    computed: list[tuple[float, Frame]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.frames = LayeredFrames(lambda one: self.computed.append((self.now, one)), lambda: self.now, self.later)

    def later(self, delay_s, action, *arguments) -> Timer:
        self.timers.append(Timer(self.now + delay_s, lambda: action(*arguments)))
        return self.timers[-1]

    def run_until(self, moment: float) -> None:
        for timer in sorted(self.timers, key=lambda one: one.due):
            if timer.due <= moment and not timer.cancelled:
                timer.cancelled = True
                self.now = timer.due
                timer.action()
        self.now = moment


def test_a_frame_is_computed_as_soon_as_all_layers_are_there():
    world = World()
    world.frames.begin(FRAME, COMPUTE_S)
    world.now += 0.030
    world.frames.add(Layer(1, 1, b"two"))
    assert world.computed == []
    world.frames.add(Layer(1, 2, b"three"))
    ((_, done),) = world.computed
    assert (done.payload, done.layers, done.deadline_ms) == (b"onetwothree", 3, 170)
    world.run_until(60.0)
    assert len(world.computed) == 1


def test_without_the_last_layer_it_is_computed_when_the_deadline_leaves_just_the_time():
    world = World()
    world.frames.begin(FRAME, COMPUTE_S)
    world.frames.add(Layer(1, 1, b"two"))
    world.run_until(60.0)
    ((when, done),) = world.computed
    assert when == pytest.approx(50.0 + 0.2 - COMPUTE_S - MARGIN_S)
    assert (done.payload, done.layers) == (b"onetwo", 2)
    assert done.deadline_ms == round(1000 * (COMPUTE_S + MARGIN_S))


def test_a_frame_without_a_deadline_waits_for_a_second():
    world = World()
    world.frames.begin(replace(FRAME, deadline_ms=0), COMPUTE_S)
    world.run_until(60.0)
    ((when, done),) = world.computed
    assert when == pytest.approx(50.0 + LONGEST_WAIT_S - MARGIN_S)
    assert (done.layers, done.deadline_ms) == (1, 0)


def test_layers_are_not_waited_for_as_long_as_a_deadline_of_an_hour_allows():
    world = World()
    world.frames.begin(replace(FRAME, deadline_ms=3_600_000), COMPUTE_S)
    assert world.frames.nbytes == 3
    world.run_until(60.0)
    ((when, done),) = world.computed
    assert when == pytest.approx(50.0 + LONGEST_DEADLINE_S - COMPUTE_S - MARGIN_S)
    assert done.layers == 1 and world.frames.nbytes == 0


def test_layers_that_come_out_of_order_twice_or_never():
    world = World()
    world.frames.begin(FRAME, COMPUTE_S)
    world.frames.add(Layer(1, 2, b"three"))
    world.frames.add(Layer(1, 2, b"again"))
    world.frames.add(Layer(1, 7, b"never announced"))
    world.frames.add(Layer(9, 1, b"of no frame"))
    world.run_until(60.0)
    ((_, done),) = world.computed
    assert (done.payload, done.layers) == (b"one", 1)  # the third is of no use without the second
    world.frames.add(Layer(1, 1, b"too late"))
    assert len(world.computed) == 1


def test_out_of_order_but_whole_is_whole():
    world = World()
    world.frames.begin(FRAME, COMPUTE_S)
    world.frames.add(Layer(1, 2, b"three"))
    world.frames.add(Layer(1, 1, b"two"))
    assert [one.payload for _, one in world.computed] == [b"onetwothree"]


def sent_at(second: float, frame_id: int) -> Frame:
    return replace(FRAME, frame_id=frame_id, sent_time_us=round(second * 1e6))


def waited_s(world: World, frame: Frame, arrives: float) -> float:
    world.run_until(arrives)
    world.frames.begin(frame, COMPUTE_S)
    world.run_until(arrives + 1.0)
    return world.computed[-1][0] - arrives


def test_the_time_that_a_frame_took_longer_to_arrive_counts_against_its_deadline():
    world = World()
    usual_s = 0.2 - COMPUTE_S - MARGIN_S
    assert waited_s(world, sent_at(900.0, 1), 51.0) == pytest.approx(usual_s)  # the device's clock is ahead
    assert waited_s(world, sent_at(902.0, 2), 53.08) == pytest.approx(usual_s - 0.08)
    assert waited_s(world, sent_at(904.0, 3), 55.0) == pytest.approx(usual_s)
    assert waited_s(world, sent_at(906.0, 4), 57.5) == 0.0  # it is late already


def test_a_clock_that_jumps_costs_no_more_than_one_frame():
    world = World()
    usual_s = 0.2 - COMPUTE_S - MARGIN_S
    assert waited_s(world, sent_at(900.0, 1), 51.0) == pytest.approx(usual_s)
    assert waited_s(world, sent_at(12.0, 2), 53.0) == pytest.approx(usual_s)
    assert waited_s(world, sent_at(14.0, 3), 55.0) == pytest.approx(usual_s)
    assert waited_s(world, sent_at(9000.0, 4), 57.0) == pytest.approx(usual_s)


def test_a_frame_of_the_same_name_lets_the_first_be_computed_as_it_is():
    world = World()
    world.frames.begin(FRAME, COMPUTE_S)
    world.frames.begin(replace(FRAME, payload=b"other"), COMPUTE_S)
    assert [one.payload for _, one in world.computed] == [b"one"]


def test_more_bytes_than_a_frame_may_have_are_not_kept():
    world = World()
    world.frames.begin(FRAME, COMPUTE_S)
    world.frames.add(Layer(1, 1, bytes(MAX_PAYLOAD_BYTES)))
    world.run_until(60.0)
    assert [one.payload for _, one in world.computed] == [b"one"]


def test_at_the_end_all_are_computed_and_after_a_hang_up_none():
    world = World()
    world.frames.begin(FRAME, COMPUTE_S)
    world.frames.finish_all()
    assert [one.layers for _, one in world.computed] == [1]
    world.frames.begin(replace(FRAME, frame_id=2), COMPUTE_S)
    world.frames.close()
    world.run_until(60.0)
    assert len(world.computed) == 1


def test_who_computes_is_let_go_of_at_the_end():
    """A session holds these frames, and they hold the session: in such a cycle its bundle would stay in memory."""

    class Session:
        def __init__(self) -> None:
            self.frames = LayeredFrames(self.compute, lambda: 0.0, lambda *_: Timer(0.0, None))

        def compute(self, frame: Frame) -> None:
            raise AssertionError

    session = Session()
    held = weakref.ref(session)
    session.frames.close()
    gc.disable()
    try:
        del session
        assert held() is None
    finally:
        gc.enable()
