"""The figures of a run and how they are said."""

from __future__ import annotations

import json

import pytest

from edge_client.adaptation.policy import LatencyBreakdown, PolicyState
from edge_client.output.report import summary, to_json
from edge_client.output.statistics import RunStatistics
from splitnet.operating_point import LOCAL, Codec, OperatingPoint
from tests.support.client_samples import POINT, dropped, result


@pytest.fixture
def statistics():
    """Return ten seconds of a run: 100 frames, every tenth late."""
    run = RunStatistics(started=100.0)
    for index in range(100):
        late = index % 10 == 9
        run.add_result(100.1 + index * 0.1, result(index + 1, 80.0 if late else 40.0, late))
    run.captured, run.overtaken, run.lost, run.sessions = 110, 7, 2, 1
    run.refused["resource_exhausted"] += 1
    return run


def test_every_frame_is_accounted_for(statistics):
    assert statistics.answered == 100
    assert dropped(statistics) == 10
    assert statistics.captured == statistics.answered + dropped(statistics)
    assert statistics.late == 10


def test_a_move_to_another_server_is_said(statistics):
    statistics.sessions = 0
    for server in ("near:1", "near:1", "far:2"):
        statistics.add_session(server)
    assert "opened again 2 times, at far:2 after 1 move" in summary(statistics, 110.0, "torch")
    statistics.add_session("near:1")
    assert "at near:1 after 2 moves" in summary(statistics, 110.0, "torch")
    told = to_json(statistics, 110.0, "torch")
    assert (told["sessions"], told["moves"], told["server"]) == (4, 2, "near:1")


def test_the_summary_has_one_row_for_each_operating_point(statistics):
    statistics.add_result(110.0, result(101, point=OperatingPoint(Codec.JPEG, 0, 30)))
    statistics.sessions = 3
    statistics.unreadable = 4
    lines = summary(statistics, 110.0, "torch").splitlines()
    assert lines[0] == "101 of 110 frames answered in 10.0 s (10.1 fps), 1.50 KB/frame"
    assert "refused by the server: 1 because it was too busy" in lines
    assert "4 unreadable images passed over" in lines
    assert "the link broke and was opened again 2 times" in lines
    assert lines[-4] == "encode times by torch"
    assert [line.split()[0] for line in lines[-2:]] == ["jpeg", "w4"]


def test_a_link_that_broke_once_was_opened_again_one_time(statistics):
    statistics.sessions, statistics.unreadable = 2, 1
    said = summary(statistics, 110.0, "torch").splitlines()
    assert "the link broke and was opened again 1 time" in said
    assert "1 unreadable image passed over" in said


def test_a_run_without_an_answer_can_be_summarised():
    assert "0 of 0 frames" in summary(RunStatistics(5.0), 5.0, "torch")


def test_json_has_the_same_figures(statistics):
    run = json.loads(json.dumps(to_json(statistics, 110.0, "torch")))
    assert run["fps"] == 10.0
    assert (run["captured"], run["answered"], run["late"], run["overtaken"], run["lost"]) == (110, 100, 10, 7, 2)
    assert run["refused"] == {"resource_exhausted": 1}
    assert run["total"]["end_to_end_ms_p50"] == pytest.approx(40, rel=0.003)
    assert run["total"]["end_to_end_ms_p95"] == pytest.approx(80, rel=0.003)
    assert run["total"]["encode_ms_p50"] == pytest.approx(5.5, rel=0.003)
    assert run["points"] == [{"point": str(POINT), **run["total"]}]


def test_frames_are_counted_by_mode(statistics):
    statistics.add_result(110.0, result(101, point=OperatingPoint(Codec.JPEG, 0, 30)))
    statistics.add_result(110.0, result(102, point=LOCAL))
    statistics.skipped, statistics.captured = 3, 115
    assert statistics.modes() == {"split": 100, "image": 1, "local": 1, "skip": 3}
    assert (statistics.detected, statistics.answered, statistics.local) == (102, 101, 1)
    assert statistics.captured == statistics.answered + statistics.local + dropped(statistics)
    assert to_json(statistics, 110.0, "torch")["modes"]["local"] == 1


def test_the_summary_compares_what_was_predicted_with_what_came():
    run = RunStatistics(0.0)
    for index in range(10):
        run.add_choice((POINT, LOCAL)[index % 2], PolicyState())
        run.add_result(1.0, result(index, end_to_end_ms=50.0), LatencyBreakdown(encode_ms=40.0 if index else 30.0))
    lines = summary(run, 60.0, "torch").splitlines()
    assert "by mode: 10 split | 9.0 switches a minute" in lines
    assert "latency predicted p50 40.0, real p50 50.0 ms | error p50 10.0, p90 11.0 ms" in lines
    assert to_json(run, 60.0, "torch")["prediction"] == {
        "frames": 10,
        "predicted_ms_p50": pytest.approx(40, rel=0.003),
        "real_ms_p50": pytest.approx(50, rel=0.003),
        "error_ms_p50": pytest.approx(10, rel=0.003),
        "error_ms_p90": pytest.approx(11, rel=0.003),
    }


def test_without_predictions_nothing_is_said_of_them(statistics):
    assert "predicted" not in summary(statistics, 110.0, "torch")
