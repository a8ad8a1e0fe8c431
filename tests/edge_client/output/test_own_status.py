"""What a device tells of itself: counts that add up, what is new of decisions and log, and less on a slow link."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from edge_client.adaptation.load import CpuSample
from edge_client.adaptation.policy import Decision, PolicyState
from edge_client.frames import ChosenFrame, Fate, FrameOutcome
from edge_client.output.journal import Journal
from edge_client.output.own_status import PREVIEW_EVERY, StatusMaker, budget_bytes, counts_of
from edge_client.output.statistics import RunStatistics
from splitnet.device_status import MAX_DECISIONS, DeviceLogLine, FrameCounts
from splitnet.operating_point import LOCAL, Codec, OperatingPoint
from tests.support.client_samples import NAMES, chosen_frame, result

POINT = OperatingPoint(Codec.RANS, 4, 5)


def fate(frame_id: int, reason: str = "test", point: OperatingPoint = POINT) -> Fate:
    chosen = chosen_frame(frame_id, point)
    chosen = ChosenFrame(chosen.frame, Decision(point, reason), chosen.chosen_at, chosen.policy_state)
    return Fate(FrameOutcome.ANSWERED, chosen.frame, chosen, result=result(frame_id))


def maker(journal: Journal) -> StatusMaker:
    return StatusMaker(journal, "slimsplit 1", "Raspberry Pi 5", 200.0, lambda: 61.0)


def test_each_frame_is_counted_once():
    run = RunStatistics(0.0)
    run.captured, run.overtaken, run.skipped, run.lost = 12, 2, 1, 1
    run.refused["resource_exhausted"] = 1
    for point, late in ((POINT, False), (POINT, True), (LOCAL, False), (LOCAL, True), (LOCAL, True)):
        run.add_result(1.0, result(1, 50.0, late, point=point))
    counts = counts_of(run)
    assert counts == FrameCounts(12, 1, 1, 3, 3, 2)
    assert counts.finished == 10


def test_a_status_says_how_the_run_does():
    run = RunStatistics(0.0)
    run.add_result(9.0, result(1, 80.0, point=POINT))
    run.policy_state = PolicyState(capacity_bps=2e6, capacity_is_bound=True, rtt_min_ms=12.5)
    status_maker = maker(Journal())
    status_maker.prepare()
    status = status_maker.status(run, 10.0, CpuSample(0.5, 0.25))
    assert (status.run_s, status.point, status.latency_p95_ms, status.deadline_ms) == (10.0, "w4 q5", 80.0, 200.0)
    assert (status.capacity_bps, status.capacity_is_bound, status.rtt_ms) == (2e6, True, 12.5)
    assert (status.cpu_share, status.temperature_c, status.board) == (0.5, 61.0, "Raspberry Pi 5")


def test_a_decision_is_told_where_it_differs_from_the_one_before():
    journal = Journal()
    for number, reason in enumerate(("a", "a", "b", "b", "a")):
        journal.write(fate(number, reason))
    decisions, _, left_out = journal.take(1e6)
    assert [(one.frame_id, one.reason) for one in decisions] == [(0, "a"), (2, "b"), (4, "a")]
    assert left_out == 0 and journal.take(1e6) == ((), (), 0)


def test_what_finds_no_room_waits_and_what_waits_is_bounded():
    journal = Journal()
    for number in range(MAX_DECISIONS + 5):
        journal.write(fate(number, f"reason {number:03}"))
    journal.log(DeviceLogLine(1, "warning", "x" * 100))
    decisions, lines, left_out = journal.take(200.0)
    assert (len(lines), len(decisions), left_out) == (1, 2, 5)
    assert decisions[0].frame_id == 5
    assert len(journal.take(1e6)[0]) == MAX_DECISIONS - 2


def test_a_line_of_the_log_is_told_without_secrets():
    journal = Journal()
    with journal.listening():
        logging.getLogger("edge_client.test").warning("camera rtsp://me:secret@camera/1 is gone\x1b[2J")
    logging.getLogger("edge_client.test").warning("after the run")
    _, lines, _ = journal.take(1e6)
    assert [(one.level, one.text) for one in lines] == [("warning", "camera rtsp://***@camera/1 is gone\\x1b[2J")]


@pytest.mark.parametrize(("capacity_bps", "budget"), [(None, 1024), (64_000, 240), (2e6, 6144), (1e9, 6144)])
def test_decisions_and_log_take_a_small_part_of_the_link(capacity_bps, budget):
    assert budget_bytes(capacity_bps) == budget


def test_the_camera_is_shown_only_where_it_is_allowed_and_the_link_has_room():
    def previews(has_preview: bool, capacity_bps: float) -> int:
        journal, run = Journal(NAMES, has_preview), RunStatistics(0.0)
        run.policy_state = PolicyState(capacity_bps=capacity_bps)
        status_maker = replace(maker(journal))
        sizes = []
        for number in range(2 * PREVIEW_EVERY):
            journal.write(fate(number))
            status_maker.prepare()
            sizes.append(len(status_maker.status(run, float(number), None).preview))
        return sum(size > 0 for size in sizes)

    assert [previews(True, 10e6), previews(False, 10e6), previews(True, 1000.0)] == [2, 0, 0]
