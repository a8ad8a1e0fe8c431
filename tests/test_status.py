"""The figures of a run and how they are said."""

from __future__ import annotations

import json

import pytest

from edge_client.run_statistics import RunStatistics
from edge_client.status import status_line, summary, to_json
from splitnet.operating_point import Codec, OperatingPoint
from tests.client_samples import POINT, result


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
    assert statistics.dropped == 10
    assert statistics.captured == statistics.answered + statistics.dropped
    assert statistics.late == 10


def test_the_line_shows_the_last_seconds(statistics):
    assert status_line(statistics, 110.0) == (
        "10.2 fps | split w4 q2 | 1.5 KB/frame | latency p50 40 p95 80 ms | dropped 7 overtaken, 2 lost, 1 refused | late 10"
    )


def test_a_silent_link_is_said(statistics):
    assert status_line(statistics, 200.0).startswith("no detections in the last seconds | answered 100")
    assert "no detections" in status_line(RunStatistics(0.0), 0.0)


def test_the_summary_has_one_row_for_each_operating_point(statistics):
    statistics.add_result(110.0, result(101, point=OperatingPoint(Codec.JPEG, 0, 30)))
    statistics.sessions = 3
    statistics.unreadable = 4
    lines = summary(statistics, 110.0).splitlines()
    assert lines[0] == "101 of 110 frames answered in 10.0 s (10.1 fps), 1.50 KB/frame"
    assert "refused by the server: 1 resource_exhausted" in lines
    assert "4 unreadable pictures passed over" in lines
    assert "the link broke and was opened again 2 times" in lines
    assert [line.split()[0] for line in lines[-2:]] == ["jpeg", "w4"]


def test_a_run_without_an_answer_can_be_summarised():
    assert "0 of 0 frames" in summary(RunStatistics(5.0), 5.0)


def test_json_has_the_same_figures(statistics):
    run = json.loads(json.dumps(to_json(statistics, 110.0)))
    assert run["fps"] == 10.0
    assert (run["captured"], run["answered"], run["late"], run["overtaken"], run["lost"]) == (110, 100, 10, 7, 2)
    assert run["refused"] == {"resource_exhausted": 1}
    assert run["total"]["end_to_end_ms_p50"] == pytest.approx(40, rel=0.003)
    assert run["total"]["end_to_end_ms_p95"] == pytest.approx(80, rel=0.003)
    assert run["total"]["encode_ms_p50"] == pytest.approx(5.5, rel=0.003)
    assert run["points"] == [{"point": str(POINT), **run["total"]}]
