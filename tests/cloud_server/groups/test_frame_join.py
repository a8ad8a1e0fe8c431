"""Parts of a group's frames, joined under a clock of the test's own."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import pytest

from cloud_server.groups.frame_join import (
    LONGEST_DEADLINE_S,
    LONGEST_WAIT_S,
    MARGIN_S,
    MAX_WAITING,
    REMEMBERED,
    SILENT_S,
    FrameJoin,
)
from cloud_server.groups.roster import LAGGING, Roster
from splitnet.errors import DeadlineExceededError, PlaceTakenError, ProtocolError
from splitnet.messages import Frame, GroupPlace
from splitnet.operating_point import Codec, OperatingPoint

COMPUTE_S = 0.020
STREAM = 7
FRAME = Frame(1, 1000, OperatingPoint(Codec.RANS, 1, 1), b"part", 640, 480, deadline_ms=200, group_stream=STREAM)


@dataclass
class World:
    """A group of four at a moment. Members are called by the number of their part, spares with a "+"."""

    now: float = 50.0
    roster: Roster[str] = field(default_factory=Roster)

    def __post_init__(self) -> None:
        self.join: FrameJoin[str, str] = FrameJoin(self.roster)
        self.computed: list[tuple[float, int, list[int], float]] = []  # when, frame, parts, due
        self.answers: list[str | None] = []

    def seat(self, *members: str) -> World:
        for member in members:
            self.roster.seat(member, GroupPlace("yard", int(member[0]), 4, member.endswith("+")), f"device {member}")
        return self

    def part(self, member: str, frame_id: int = 1, **changes) -> None:
        joined, answer = self.join.add(self.now, member, replace(FRAME, frame_id=frame_id, **changes), COMPUTE_S)
        self.answers.append(answer)
        self.take(joined)

    def take(self, joined) -> None:
        self.computed += [(self.now, one.key[1], list(one.parts), one.due) for one in joined]

    def run_until(self, moment: float) -> None:
        while self.join.wake_at <= moment:
            self.now = self.join.wake_at
            self.take(self.join.due(self.now))
        self.now = moment

    def leave(self, member: str) -> None:
        self.roster.leave(member)
        self.take(self.join.complete())

    def answer(self, frame_id: int, text: str = "found") -> list[tuple[str, int]]:
        return [(one.member, one.part) for one in self.join.answered((STREAM, frame_id), text)]


def four() -> World:
    return World().seat("1", "2", "3", "4")


def test_a_frame_is_computed_as_soon_as_all_its_parts_are_there():
    world = four()
    for member in ("3", "1", "4"):
        world.part(member)
        world.now += 0.010
    assert world.computed == []
    world.part("2")
    assert world.computed == [(world.now, 1, [1, 2, 3, 4], pytest.approx(50.2))]
    assert world.answer(1) == [("3", 3), ("1", 1), ("4", 4), ("2", 2)]
    assert world.join.nbytes == 0 and world.join.waiting == 0


def test_a_late_part_is_not_waited_for_beyond_what_the_deadline_leaves():
    world = four()
    for member in ("1", "2", "4"):
        world.part(member)
    world.run_until(60.0)
    assert world.computed == [(pytest.approx(50.2 - COMPUTE_S - MARGIN_S), 1, [1, 2, 4], pytest.approx(50.2))]


def test_of_what_devices_say_is_left_of_a_deadline_the_earliest_end_counts():
    world = four()
    world.part("1", deadline_ms=200)
    world.now += 0.050
    world.part("2", deadline_ms=100)  # 150 ms after the first part, by the server's clock
    world.part("3", deadline_ms=5000)
    world.run_until(60.0)
    assert world.computed == [(pytest.approx(50.15 - COMPUTE_S - MARGIN_S), 1, [1, 2, 3], pytest.approx(50.15))]


def test_a_frame_without_a_deadline_waits_for_a_second():
    world = four()
    world.part("1", deadline_ms=0)
    world.run_until(60.0)
    assert world.computed == [(50.0 + LONGEST_WAIT_S, 1, [1], math.inf)]


def test_a_deadline_of_an_hour_is_not_waited_for():
    world = four()
    world.part("1", deadline_ms=3_600_000)
    world.run_until(70.0)
    assert world.computed[0][0] == pytest.approx(50.0 + LONGEST_DEADLINE_S - COMPUTE_S - MARGIN_S)


def test_a_deadline_that_is_shorter_than_the_computing_is_not_waited_for_at_all():
    world = four()
    world.part("1", deadline_ms=1)
    world.run_until(50.0)
    assert world.computed == [(50.0, 1, [1], pytest.approx(50.001))]


def test_whoever_has_left_is_not_waited_for():
    world = four()
    for member in ("1", "2", "4"):
        world.part(member)
    world.leave("3")
    assert world.computed == [(50.0, 1, [1, 2, 4], pytest.approx(50.2))]


def test_a_part_that_was_never_there_is_not_waited_for():
    world = World().seat("1", "3")
    world.part("1")
    world.part("3")
    assert [parts for _, _, parts, _ in world.computed] == [[1, 3]]


def test_a_device_that_skips_a_frame_is_not_waited_for():
    world = four()
    for member in ("1", "2", "4"):
        world.part(member, 5)
    world.part("3", 6)
    assert [(key, parts) for _, key, parts, _ in world.computed] == [(5, [1, 2, 4])]


def test_a_device_that_lags_is_waited_for_a_few_times_only_and_again_once_it_keeps_up():
    world = World().seat("1", "2")
    for frame_id in range(1, LAGGING + 1):
        world.part("1", frame_id)
        world.run_until(world.now + 1.0)
    assert [now % 1 for now, _, _, _ in world.computed] == [pytest.approx(0.172)] * LAGGING
    assert world.roster.lagging == {2}
    world.part("1", 10)
    assert world.computed[-1] == (world.now, 10, [1], pytest.approx(world.now + 0.2))  # at once
    world.now += 0.100
    world.part("2", 10)  # would have been in time
    assert world.roster.lagging == set()
    world.part("1", 11)
    world.part("2", 11)
    assert world.computed[-1][1:3] == (11, [1, 2])


def test_a_device_that_lags_by_seconds_goes_on_lagging():
    world = World().seat("1", "2")
    for frame_id in range(1, LAGGING + 1):
        world.part("1", frame_id)
        world.run_until(world.now + 2.0)
        world.part("2", frame_id)
    assert world.roster.lagging == {2}


def test_a_part_that_comes_late_is_answered_with_the_others_or_with_what_they_were_told():
    world = four()
    for member in ("1", "2"):
        world.part(member)
    world.run_until(50.5)
    world.part("3")  # while the frame is computed
    assert world.answer(1) == [("1", 1), ("2", 2), ("3", 3)]
    world.part("4")
    assert world.answers == [None, None, None, "found"]
    assert [parts for _, _, parts, _ in world.computed] == [[1, 2]]


def test_a_part_that_comes_when_nobody_remembers_its_frame_is_refused():
    world = World().seat("1", "2")
    world.roster.finished("2")
    for frame_id in range(1, REMEMBERED + 3):
        world.part("1", frame_id)
        world.answer(frame_id)
    with pytest.raises(DeadlineExceededError, match="part 2 of frame 2 has come when the group had answered frame 2 a"):
        world.part("2", 2)
    world.part("2", 3)
    assert world.answers[-1] == "found"


def test_of_a_part_and_its_spare_the_first_to_come_is_used_and_both_are_answered():
    world = World().seat("1", "2", "2+")
    world.part("1", payload=b"one")
    world.part("2+", payload=b"spare")
    assert world.computed == [(50.0, 1, [1, 2], pytest.approx(50.2))]
    world.part("2", payload=b"two")
    assert world.answer(1) == [("1", 1), ("2+", 2), ("2", 2)]


def test_with_a_spare_device_a_part_that_is_lost_costs_no_time():
    world = World().seat("1", "2", "2+")
    world.part("1")
    world.leave("2")
    assert world.computed == []
    world.part("2+")
    assert [parts for _, _, parts, _ in world.computed] == [[1, 2]]


def test_two_devices_with_the_same_part_are_refused_by_name():
    world = four()
    with pytest.raises(PlaceTakenError, match="device 2 is part 2 of group yard already: give this device an"):
        world.roster.seat("other", GroupPlace("yard", 2, 4), "device 9")
    world.roster.seat("2+", GroupPlace("yard", 2, 4, spare=True), "device 2+")
    with pytest.raises(PlaceTakenError, match=r"device 2\+ is the spare device of part 2 of group yard already"):
        world.roster.seat("other", GroupPlace("yard", 2, 4, spare=True), "device 9")
    assert len(world.roster) == 5


def test_a_device_that_comes_again_takes_its_own_place():
    world = four()
    assert world.roster.seat("2 anew", GroupPlace("yard", 2, 4), "device 2") == "2"
    assert len(world.roster) == 4


def test_a_part_of_an_image_of_another_size_is_refused_and_the_others_go_on():
    world = four()
    world.part("1")
    with pytest.raises(ProtocolError, match="part 2 of frame 1 is of an image of 320x240 pixels, the others"):
        world.part("2", frame_width=320, frame_height=240)
    for member in ("2", "3", "4"):
        world.part(member)
    assert [parts for _, _, parts, _ in world.computed] == [[1, 2, 3, 4]]


def test_a_part_of_another_camera_is_refused_until_the_groups_own_falls_silent():
    world = World().seat("1", "2")
    world.part("1", 1)
    with pytest.raises(ProtocolError, match="part 2 of frame 1 is of another camera than the group looks at"):
        world.part("2", 1, group_stream=8)
    world.now += SILENT_S
    world.part("2", 1, group_stream=8)  # the camera's owner has started anew
    assert [parts for _, _, parts, _ in world.computed] == [[1]]
    with pytest.raises(ProtocolError, match="part 1 of frame 2 is of another camera"):
        world.part("1", 2)
    world.part("1", 1, group_stream=8)
    assert [parts for _, _, parts, _ in world.computed] == [[1], [1, 2]]


def test_answers_of_the_camera_before_reach_those_who_wait_for_them():
    world = World().seat("1")
    world.part("1", 5)
    world.now += SILENT_S
    world.part("1", 5, group_stream=8)
    assert world.answer(5) == [("1", 1)]
    assert [one.member for one in world.join.answered((8, 5), "new")] == ["1"]


def test_frames_that_wait_are_bounded_and_the_oldest_is_computed_as_it_is():
    world = four()
    for frame_id in range(1, MAX_WAITING + 2):
        world.part("1", frame_id, deadline_ms=60_000)
    assert [(key, parts) for _, key, parts, _ in world.computed] == [(1, [1])]
    assert world.join.waiting == MAX_WAITING


def test_answers_that_are_kept_are_bounded():
    world = World().seat("1")
    for frame_id in range(1, 500):
        world.part("1", frame_id)
        world.answer(frame_id)
    assert len(world.join._entries) == REMEMBERED and world.join.nbytes == 0


def test_a_device_that_has_hung_up_its_side_is_not_waited_for():
    world = four()
    for member in ("1", "2", "3"):
        world.part(member)
    world.roster.finished("4")
    world.take(world.join.complete())
    assert [parts for _, _, parts, _ in world.computed] == [[1, 2, 3]]
