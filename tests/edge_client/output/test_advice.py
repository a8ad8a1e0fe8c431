"""Advice on the best mode: exact figures, plain sentences."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_client.adaptation.controller import ControlSettings
from edge_client.adaptation.point_table import PointCosts, PointTable
from edge_client.adaptation.policy import PolicyState
from edge_client.output.advice import advice
from edge_client.output.mode_scores import ENOUGH_FRAMES, RunConditions, as_seen, conditions_of_run, mode_scores
from edge_client.output.statistics import RunStatistics
from splitnet.operating_point import LOCAL, Codec, Mode, OperatingPoint
from tests.support.client_samples import result

W1, W4 = OperatingPoint(Codec.RANS, 1, 0), OperatingPoint(Codec.RANS, 4, 2)
JPEG = OperatingPoint(Codec.JPEG, 0, 50)
SPLIT_TABLE = PointTable((PointCosts(W4, 24.0, 1380.0, 1900.0, 10.0),))  # 2000 bytes with what the wire adds
IMAGE_TABLE = PointTable((PointCosts(JPEG, 27.0, 12_000.0, 15_900.0, 2.0),))  # 16000
TABLES = {Mode.SPLIT: SPLIT_TABLE, Mode.IMAGE: IMAGE_TABLE, Mode.LOCAL: PointTable((), 28.7, 160.0)}
SERVER = {Mode.SPLIT: 20.0, Mode.IMAGE: 15.0}
# w4 q2 takes 10 + 20 + 10 + 20 = 60 ms, jpeg 50 takes 2 + 160 + 10 + 15
SLOW = RunConditions(ControlSettings(200.0), 10.0, 0.8e6, 10.0, SERVER)


def test_each_mode_makes_its_best_offer_and_the_best_comes_first():
    best, second, third = mode_scores(TABLES, SLOW)
    assert (best.point, best.total_ms, best.share, best.effective_ap) == (W4, pytest.approx(60.0), 1.0, 24.0)
    assert (second.point, second.share) == (LOCAL, pytest.approx(0.625))  # 6.25 of 10 frames a second
    assert second.effective_ap == pytest.approx(28.7 * 0.625)
    assert (third.point, third.total_ms) == (JPEG, pytest.approx(187.0))
    assert third.share == pytest.approx(1000 / 10 / 160)  # the link is busy 160 ms with each


def test_the_advice_is_said_in_sentences_with_figures():
    assert advice(TABLES, SLOW) == [
        "with 0.80 Mbps, a round trip of 10.0 ms, the server's 20 ms for split, 15 ms for image, 10 frames a second "
        "and a deadline of 200 ms:",
        "split serves best: AP 24.0 with w4 q2, 1.4 KB in 60 ms",
        "local is 6.1 AP less: AP 28.7 on the device in 160 ms, but for 62% of the frames: 17.9 over all",
        "image is 7.1 AP less: AP 27.0 with jpeg 50, 12.0 KB in 187 ms, but for 62% of the frames: 16.9 over all",
    ]


def test_a_fast_device_stays_local():
    tables = {**TABLES, Mode.LOCAL: PointTable((), 28.7, 15.0)}
    assert advice(tables, SLOW)[1] == "local serves best: AP 28.7 on the device in 15 ms"


def test_a_rich_link_sends_pictures():
    rich = RunConditions(ControlSettings(200.0), 10.0, 100e6, 2.0, SERVER)
    tables = {Mode.SPLIT: SPLIT_TABLE, Mode.IMAGE: IMAGE_TABLE}
    lines = advice(tables, rich)
    assert lines[1].startswith("image serves best: AP 27.0 with jpeg 50")
    assert lines[2].startswith("split is 3.0 AP less")


def test_small_differences_are_called_noise():
    tables = {Mode.SPLIT: SPLIT_TABLE, Mode.LOCAL: PointTable((), 23.5, 15.0)}
    assert advice(tables, SLOW)[1:] == [
        "local serves best: AP 23.5 on the device in 15 ms",  # 0.5 AP are not worth the bytes
        "split is as good, within the noise: AP 24.0 with w4 q2, 1.4 KB in 60 ms",
    ]


def test_a_mode_that_is_too_slow_is_named():
    hurried = RunConditions(ControlSettings(100.0), 10.0, 0.8e6, 10.0, SERVER)
    lines = advice(TABLES, hurried)
    assert "image cannot be in time: its quickest, jpeg 50, takes 187 ms" in lines
    assert "local cannot be in time: its quickest, local, takes 160 ms" in lines


def test_a_deadline_that_nothing_meets_is_said_with_what_would_do():
    impossible = RunConditions(ControlSettings(50.0), 10.0, 0.8e6, 10.0, SERVER)
    (_, line) = advice(TABLES, impossible)
    assert line == "no mode meets the deadline here; the quickest is w4 q2 in 60 ms: allow at least that"


def test_without_figures_there_is_no_advice():
    assert "no mode can be judged" in advice({}, SLOW)[1]


def test_nothing_is_said_of_a_mode_that_was_not_tried():
    hardly = replace(SLOW, server_ms={Mode.SPLIT: 20.0})
    assert advice({Mode.SPLIT: SPLIT_TABLE, Mode.IMAGE: IMAGE_TABLE}, hardly)[1:] == [
        "split serves best: AP 24.0 with w4 q2, 1.4 KB in 60 ms",
        "image was hardly tried, so nothing is said of it: edge-client profile --server tries every mode",
    ]


def test_a_capacity_that_is_only_a_bound_is_said_and_excludes_nothing():
    bound = replace(SLOW, limits=ControlSettings(100.0), capacity_is_bound=True)
    assert advice({Mode.SPLIT: SPLIT_TABLE, Mode.IMAGE: IMAGE_TABLE}, bound) == [
        "with at least 0.80 Mbps, a round trip of 10.0 ms, the server's 20 ms for split, 15 ms for image, 10 frames a "
        "second and a deadline of 100 ms:",
        "split serves best: AP 24.0 with w4 q2, 1.4 KB in 60 ms",
        "whether image can be in time is not known: nothing has filled the link",
    ]
    (_, line) = advice({Mode.IMAGE: IMAGE_TABLE}, bound)
    assert line == "nothing has filled the link, so whether a mode can be in time is not known"


def test_what_the_user_s_limits_forbid_is_not_advised():
    two = PointTable((*SPLIT_TABLE.rows, PointCosts(W1, 16.0, 500.0, 700.0, 5.0)))
    capped = replace(SLOW, limits=ControlSettings(200.0, max_kbps=100.0))  # 1250 bytes a frame
    assert advice({Mode.SPLIT: two, Mode.IMAGE: IMAGE_TABLE}, capped)[1:] == [
        "split serves best: AP 16.0 with w1 q0, 0.5 KB in 43 ms",
        "image has no operating point within --max-kbps and --min-fps",
    ]
    fast = replace(SLOW, limits=ControlSettings(200.0, min_fps=150.0))  # 6.7 ms a frame
    assert [score.point for score in mode_scores({Mode.SPLIT: two}, fast)] == [W1]


def run_with(frames: int, point: OperatingPoint = W4) -> RunStatistics:
    """Return a run with so many answered frames."""
    run = RunStatistics(0.0)
    run.captured = frames
    for frame_id in range(frames):
        run.add_result(1.0, result(frame_id, point=point))
    run.add_choice(point, PolicyState(capacity_bps=2e6, capacity_is_bound=True, rtt_min_ms=4.0))
    return run


def test_a_run_tells_its_own_conditions():
    run = run_with(ENOUGH_FRAMES)
    run.add_result(1.0, result(99, point=JPEG))  # one frame says nothing of a mode
    run.add_result(1.0, result(100, point=LOCAL))
    limits = ControlSettings(200.0, max_kbps=300.0)
    server_ms = {Mode.SPLIT: pytest.approx(13.25, rel=0.003)}
    assert conditions_of_run(run, 10.0, limits) == RunConditions(limits, 3.0, 2e6, 4.0, server_ms, True)


def test_a_few_frames_are_no_ground_for_advice():
    assert conditions_of_run(run_with(ENOUGH_FRAMES - 1), 10.0, ControlSettings(200.0)) is None
    assert conditions_of_run(run_with(ENOUGH_FRAMES, LOCAL), 10.0, ControlSettings(200.0)) is None


def test_times_and_sizes_that_a_run_has_seen_go_before_those_of_the_table():
    run = RunStatistics(0.0)
    run.add_result(1.0, result(1, point=LOCAL))  # 5.5 ms
    run.add_result(1.0, result(2, point=JPEG))  # 1500 bytes, an eighth of the table's
    other = PointCosts(OperatingPoint(Codec.JPEG, 0, 75), 28.0, 24_000.0, 32_000.0, 3.0)
    tables = as_seen({**TABLES, Mode.IMAGE: PointTable((*IMAGE_TABLE.rows, other))}, run)
    assert tables[Mode.LOCAL].local_ms == pytest.approx(5.5, rel=0.003)
    used, unused = tables[Mode.IMAGE].rows
    assert (used.encode_ms, used.bytes_p50) == (pytest.approx(5.5, rel=0.003), 1500.0)
    assert (unused.encode_ms, unused.bytes_p50, unused.bytes_p90) == (3.0, 3000.0, 4000.0)
    assert tables[Mode.SPLIT] == SPLIT_TABLE
