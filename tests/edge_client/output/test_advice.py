"""Which mode serves best: exact figures, plain sentences."""

from __future__ import annotations

import pytest

from edge_client.adaptation.point_table import PointCosts, PointTable
from edge_client.adaptation.policy import PolicyState
from edge_client.output.advice import RunConditions, advice, conditions_of_run, mode_scores, with_times_of_run
from edge_client.output.statistics import RunStatistics
from splitnet.operating_point import LOCAL, Codec, Mode, OperatingPoint
from tests.support.client_samples import result

W4 = OperatingPoint(Codec.RANS, 4, 2)
JPEG = OperatingPoint(Codec.JPEG, 0, 50)
SPLIT_TABLE = PointTable((PointCosts(W4, 24.0, 1380.0, 1900.0, 10.0),))  # 2000 bytes with what the wire adds
IMAGE_TABLE = PointTable((PointCosts(JPEG, 27.0, 12_000.0, 15_900.0, 2.0),))  # 16000
TABLES = {Mode.SPLIT: SPLIT_TABLE, Mode.IMAGE: IMAGE_TABLE, Mode.LOCAL: PointTable((), 28.7, 160.0)}
SERVER = {Mode.SPLIT: 20.0, Mode.IMAGE: 15.0}
SLOW = RunConditions(200.0, 10.0, 0.8e6, 10.0, SERVER)  # w4 q2: 10 + 20 + 10 + 20 = 60 ms; jpeg 50: 2 + 160 + 10 + 15


def test_each_mode_makes_its_best_offer_and_the_best_comes_first():
    best, second, third = mode_scores(TABLES, SLOW)
    assert (best.point, best.total_ms, best.share, best.effective_ap) == (W4, pytest.approx(60.0), 1.0, 24.0)
    assert (second.point, second.share) == (LOCAL, pytest.approx(0.625))  # 6.25 of 10 frames a second
    assert second.effective_ap == pytest.approx(28.7 * 0.625)
    assert (third.point, third.total_ms) == (JPEG, pytest.approx(187.0))
    assert third.share == pytest.approx(1000 / 10 / 160)  # the link is busy 160 ms with each


def test_the_advice_is_said_in_sentences_with_figures():
    assert advice(mode_scores(TABLES, SLOW), SLOW) == [
        "with 0.80 Mbps, a round trip of 10.0 ms, the server's 20 ms for split, 15 ms for image, 10 frames a second "
        "and a deadline of 200 ms:",
        "split serves best: AP 24.0 with w4 q2, 1.4 KB in 60 ms",
        "local is 6.1 AP less: AP 28.7 on the device in 160 ms, but for 62% of the frames: 17.9 over all",
        "image is 7.1 AP less: AP 27.0 with jpeg 50, 12.0 KB in 187 ms, but for 62% of the frames: 16.9 over all",
    ]


def test_a_fast_device_stays_local():
    tables = {**TABLES, Mode.LOCAL: PointTable((), 28.7, 15.0)}
    assert advice(mode_scores(tables, SLOW), SLOW)[1] == "local serves best: AP 28.7 on the device in 15 ms"


def test_a_rich_link_sends_pictures():
    rich = RunConditions(200.0, 10.0, 100e6, 2.0, SERVER)
    tables = {Mode.SPLIT: SPLIT_TABLE, Mode.IMAGE: IMAGE_TABLE}
    lines = advice(mode_scores(tables, rich), rich)
    assert lines[1].startswith("image serves best: AP 27.0 with jpeg 50")
    assert lines[2].startswith("split is 3.0 AP less")


def test_small_differences_are_called_noise():
    tables = {Mode.SPLIT: SPLIT_TABLE, Mode.LOCAL: PointTable((), 23.5, 15.0)}
    assert advice(mode_scores(tables, SLOW), SLOW)[2].startswith("local is as good, within the noise")


def test_a_mode_that_is_too_slow_is_named():
    hurried = RunConditions(100.0, 10.0, 0.8e6, 10.0, SERVER)
    lines = advice(mode_scores(TABLES, hurried), hurried)
    assert "image cannot be in time: its quickest, jpeg 50, takes 187 ms" in lines
    assert "local cannot be in time: its quickest, local, takes 160 ms" in lines


def test_a_deadline_that_nothing_meets_is_said_with_what_would_do():
    impossible = RunConditions(50.0, 10.0, 0.8e6, 10.0, SERVER)
    (_, line) = advice(mode_scores(TABLES, impossible), impossible)
    assert line == "no mode meets the deadline here; the quickest is w4 q2 in 60 ms: allow at least that"


def test_without_figures_there_is_no_advice():
    assert "no mode can be judged" in advice(mode_scores({}, SLOW), SLOW)[1]


def test_the_server_is_taken_to_be_slowest_in_a_mode_that_was_not_tried():
    assert RunConditions(200.0, 10.0, 1e6, 5.0, {Mode.SPLIT: 20.0}).server_ms_of(Mode.IMAGE) == 20.0
    assert RunConditions(200.0, 10.0, 1e6, 5.0, {}).server_ms_of(Mode.IMAGE) == 0.0


def test_a_run_tells_its_own_conditions():
    run = RunStatistics(0.0)
    run.captured = 50
    assert conditions_of_run(run, 10.0, 200.0) is None
    for frame_id in (1, 2):
        run.add_result(1.0, result(frame_id))
    run.add_result(1.0, result(3, point=LOCAL))
    run.add_choice(W4, PolicyState(capacity_bps=2e6, rtt_min_ms=4.0))
    found = conditions_of_run(run, 10.0, 200.0)
    server_ms = {Mode.SPLIT: pytest.approx(13.25, rel=0.003)}
    assert found == RunConditions(200.0, 5.0, 2e6, 4.0, server_ms)


def test_times_that_a_run_has_seen_go_before_those_of_the_profile():
    run = RunStatistics(0.0)
    run.add_result(1.0, result(1, point=LOCAL))  # 5.5 ms
    run.add_result(1.0, result(2, point=JPEG))
    tables = with_times_of_run(TABLES, run)
    assert tables[Mode.LOCAL].local_ms == pytest.approx(5.5, rel=0.003)
    assert tables[Mode.IMAGE].rows[0].encode_ms == pytest.approx(5.5, rel=0.003)
    assert tables[Mode.SPLIT] == SPLIT_TABLE
