"""The line that shows what happens now."""

from __future__ import annotations

import pytest

from edge_client.adaptation.policy import PolicyState
from edge_client.output.statistics import RunStatistics
from edge_client.output.status_line import fitting, status_line
from splitnet.operating_point import LOCAL, Codec, OperatingPoint
from tests.support.client_samples import POINT, result


@pytest.fixture
def run():
    """Return ten seconds of a run: 100 frames, every tenth late."""
    statistics = RunStatistics(started=100.0)
    for index in range(100):
        late = index % 10 == 9
        statistics.add_result(100.1 + index * 0.1, result(index + 1, 80.0 if late else 40.0, late))
    statistics.captured, statistics.overtaken, statistics.lost = 110, 7, 2
    statistics.refused["resource_exhausted"] += 1
    return statistics


def test_it_shows_the_last_seconds_with_the_drops_in_front(run):
    assert status_line(run, 110.0) == "10.2 fps | dropped 10 | late 10 | w4 q2 1.5 KB | 40-80 ms"


def test_it_shows_what_the_policy_believes_and_where_it_has_moved(run):
    run.add_choice(POINT, PolicyState(capacity_bps=2_345_000.0, load_factor=1.2))
    run.late = 0
    assert status_line(run, 110.0).endswith(" | 40-80 ms | 2.35 Mbps | load x1.2")
    run.add_session("near:1")
    run.add_session("far:2")
    assert status_line(run, 110.0).endswith(" | 40-80 ms | 2.35 Mbps | at far:2")


@pytest.mark.parametrize(("point", "shown"), [(OperatingPoint(Codec.WEBP, 0, 20), "webp 20 1.5 KB"), (LOCAL, "local")])
def test_it_names_the_operating_point(run, point, shown):
    run.add_result(110.0, result(101, point=point))
    assert status_line(run, 110.0).split(" | ")[3] == shown


def test_it_begins_with_the_outage(run):
    run.no_link_since = 106.0
    assert status_line(run, 110.0).startswith("NO LINK 4 s | 10.2 fps | dropped 10")
    run.add_session("near:1")
    assert not status_line(run, 110.0).startswith("NO LINK")


def test_it_says_that_nothing_comes(run):
    assert status_line(run, 200.0) == "no detections now | 100 so far | dropped 10 | late 10"
    assert status_line(RunStatistics(0.0), 0.0) == "no detections now | 0 so far | dropped 0"


def test_it_fits_80_columns_whatever_happens(run):
    run.no_link_since = -1e6
    run.overtaken = run.late = 10**9
    run.add_choice(POINT, PolicyState(capacity_bps=1e9, load_factor=99.0))
    line = status_line(run, 110.0)
    assert len(line) < 80
    assert line.startswith("NO LINK 1000110 s | 10.2 fps | dropped 1000000003 | late 1000000000")


def test_parts_that_do_not_fit_are_left_out_from_the_first_on():
    assert fitting(["abc", "def", "g"], 9) == "abc | def"
    assert fitting(["abc", "defg", "h"], 9) == "abc"
