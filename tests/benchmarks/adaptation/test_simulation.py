"""A run in virtual time, its rivals and its oracles."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.adaptation.greedy_oracle import GreedyOraclePolicy
from benchmarks.adaptation.oracle import OraclePolicy
from benchmarks.adaptation.rivals import LocalOnlyPolicy, SeePolicy
from benchmarks.adaptation.simulation import Device, FrameLog, Outcome, World, simulate
from benchmarks.harness.traces import Trace, steps, with_outages
from edge_client.adaptation.adaptive_policy import AdaptivePolicy
from edge_client.adaptation.controller import ControlSettings
from edge_client.adaptation.policy import FixedPolicy, Policy
from splitnet.errors import ConfigError
from splitnet.messages import Ack
from splitnet.operating_point import LOCAL, Mode, OperatingPoint
from tests.support.control_samples import LARGE, MIDDLE, PICTURE, SMALL, SPLIT_TABLE, TABLE, context

ROWS = {row.point: row for row in TABLE.rows}
AP = {**{row.point: row.ap for row in TABLE.rows}, LOCAL: 29.0}


class Images:
    """All of the same size."""

    def payload_bytes(self, position: int, point: OperatingPoint) -> int:
        return int(ROWS[point].bytes_p50)


DEVICE = Device(lambda point: ROWS[point].encode_ms, local_ms=400.0, slowdown=1.0)


def world(trace: Trace, seconds: float = 20.0, deadline_ms: float = 200.0) -> World:
    return World(trace, Images(), DEVICE, deadline_ms, seconds)


def adaptive(table=TABLE, **settings) -> AdaptivePolicy:
    return AdaptivePolicy(table, ControlSettings(**settings))


def value(logs: list[FrameLog]) -> float:
    """Return AP per frame of the source."""
    return sum(AP[log.point] for log in logs if log.outcome is Outcome.MET) / len(logs)


def met(logs: list[FrameLog]) -> float:
    return sum(log.outcome is Outcome.MET for log in logs) / len(logs)


def test_a_fixed_point_on_a_rich_link_takes_what_its_way_takes():
    logs = simulate(world(steps([10.0], 20.0)), FixedPolicy(MIDDLE.point))
    assert met(logs) == 1.0
    assert [log.frame_id for log in logs] == list(range(1, 201))
    expected_ms = 40 + 8 * 3000 / 10_000 + 30 + 15
    assert sum(log.total_ms for log in logs) / len(logs) == pytest.approx(expected_ms, rel=0.05)


def test_every_frame_has_one_fate_and_every_run_the_same():
    first, second = (simulate(world(steps([2.0, 0.2], 5.0)), adaptive(has_local=True)) for _ in range(2))
    assert first == second
    assert len({log.frame_id for log in first}) == len(first) == 200


def test_what_does_not_fit_the_link_is_overtaken_or_late():
    logs = simulate(world(steps([0.5], 20.0)), FixedPolicy(PICTURE.point))
    outcomes = {log.outcome for log in logs}
    assert Outcome.OVERTAKEN in outcomes
    assert met(logs) == 0.0


def test_two_frames_at_most_are_under_way():
    class Counting(FixedPolicy):
        most, now = 0, 0

        def sent(self, now, frame_id, payload_bytes, layer=0):
            Counting.now += 1
            Counting.most = max(Counting.most, Counting.now)

        def answered(self, now, frame_id, timing, missing_layers=0):
            Counting.now -= 1

    simulate(world(steps([0.3], 20.0)), Counting(LARGE.point))
    assert Counting.most == 2


def test_load_slows_the_device_down():
    loaded = replace(world(steps([10.0], 20.0)), device=replace(DEVICE, load=((0.0, 1.0), (10.0, 2.0))))
    logs = simulate(loaded, FixedPolicy(MIDDLE.point))
    assert logs[150].total_ms - logs[50].total_ms > 25


def test_the_controller_follows_a_link_that_becomes_four_times_slower():
    logs = simulate(world(steps([4.0, 1.0], 10.0)), adaptive())
    sent = [log for log in logs if log.payload_bytes and log.capture_time >= 10.0]
    late = [log.outcome is Outcome.LATE for log in sent]
    assert sum(late) <= 3
    assert not any(late[3:])


def test_the_controller_is_at_the_new_best_within_two_seconds_of_a_step_up():
    logs = simulate(world(steps([0.5, 10.0], 10.0)), adaptive())
    after = [log for log in logs if log.capture_time >= 12.0]
    assert {log.point for log in after} == {PICTURE.point}


def test_an_outage_is_bridged_by_the_device_and_left_within_a_second():
    logs = simulate(world(with_outages(steps([5.0], 30.0), [(5.0, 14.0)]), 30.0), adaptive(has_local=True))
    during = [log for log in logs if 5.5 <= log.capture_time < 19.0]
    modes = [log.point.mode for log in during if log.point is not None]
    assert modes.count(Mode.LOCAL) >= 13.5 / 0.5 - 1
    assert all(log.outcome is Outcome.MET for log in logs if log.capture_time >= 20.0)


def test_the_controller_beats_every_fixed_point_and_sees_controller_on_a_link_that_changes():
    changing = world(with_outages(steps([4.0, 0.5, 2.0, 8.0], 5.0), [(7.0, 1.0)]))
    rivals: list[Policy] = [*(FixedPolicy(row.point) for row in TABLE.rows), SeePolicy(SPLIT_TABLE.rows)]
    rivals.append(LocalOnlyPolicy())
    ours = simulate(changing, adaptive(has_local=True))
    assert value(ours) > max(value(simulate(changing, rival)) for rival in rivals)


def test_the_oracles_are_ahead_of_the_controller_and_the_one_that_plans_of_the_greedy_one():
    changing = world(steps([4.0, 0.5, 2.0, 0.2], 5.0))
    ours = simulate(changing, adaptive())
    table = replace(TABLE, local_ap=None, local_ms=None)
    greedy = simulate(changing, GreedyOraclePolicy(changing, table))
    oracle = simulate(changing, OraclePolicy(changing, table))
    assert value(ours) < value(greedy) <= value(oracle)
    assert met(oracle) >= met(greedy)


def test_the_oracle_sends_nothing_in_vain():
    changing = world(steps([4.0, 0.5, 2.0, 0.2], 5.0))
    logs = simulate(changing, OraclePolicy(changing, TABLE))
    assert not any(log.outcome is Outcome.LATE for log in logs)


def test_sees_controller_smooths_with_weight_0_4_and_knows_no_queue():
    see = SeePolicy(SPLIT_TABLE.rows)
    frame = context(deadline_ms=125.0)
    assert see.choose(0.0, frame).point == SMALL.point
    for frame_id, seconds in ((1, 0.10), (2, 0.05)):
        see.sent(float(frame_id), frame_id, 1000)
        see.acked(frame_id + seconds, Ack(frame_id, 1000, 0, 1))
    # 80 and 160 kbit/s become 112: 2900 bytes take 207 ms, 900 bytes 64 ms.
    assert see.choose(3.0, frame).point == SMALL.point
    assert see.choose(3.0, context(deadline_ms=250.0)).point == MIDDLE.point


def test_sees_controller_needs_rows():
    with pytest.raises(ConfigError, match="operating points"):
        SeePolicy(())


class InLayers(Images):
    """All of the same size, and in three layers."""

    def layer_bytes(self, position: int, point: OperatingPoint) -> tuple[int, ...]:
        whole = self.payload_bytes(position, point)
        return whole // 4, whole // 4, whole // 2


class Layered(FixedPolicy):
    """A fixed point in layers."""

    def choose(self, now, context):
        return replace(super().choose(now, context), layers=3)


def layered_world(trace: Trace, seconds: float = 20.0, deadline_ms: float = 300.0) -> World:
    return replace(world(trace, seconds, deadline_ms), frames=InLayers(), max_layers=3)


def test_on_a_rich_link_all_layers_arrive_and_cost_a_round_trip_at_most():
    logs = simulate(layered_world(steps([10.0], 20.0)), Layered(MIDDLE.point))
    assert {(log.layers, log.layers_used, log.payload_bytes) for log in logs} == {(3, 3, 2900)}
    whole = simulate(layered_world(steps([10.0], 20.0)), FixedPolicy(MIDDLE.point))
    longer_ms = sum(a.total_ms - b.total_ms for a, b in zip(logs, whole, strict=True)) / len(logs)
    assert 20 < longer_ms < 32


def test_on_a_link_that_is_too_slow_for_the_whole_a_frame_is_coarser_instead_of_late():
    trace = steps([0.4], 20.0)
    whole, logs = (simulate(layered_world(trace), policy(LARGE.point)) for policy in (FixedPolicy, Layered))
    assert met(whole) < 0.7
    assert met(logs) > 0.8
    assert {log.layers_used for log in logs if log.outcome is Outcome.MET} == {1, 2, 3}
    assert max(log.total_ms for log in logs if log.outcome is Outcome.MET) <= 300


def test_what_can_not_be_in_time_any_more_is_not_sent():
    trace = with_outages(steps([4.0], 20.0), [(5.0, 2.0)])
    logs = simulate(layered_world(trace), Layered(LARGE.point))
    during = [log for log in logs if 5.0 < log.capture_time < 6.9 and log.payload_bytes]
    assert during and all(log.payload_bytes < 4900 for log in during)


def test_without_a_deadline_the_server_waits_for_all_layers():
    logs = simulate(layered_world(steps([0.5], 20.0), deadline_ms=0.0), Layered(LARGE.point))
    done = [log for log in logs if log.outcome is Outcome.MET]
    assert done and all(log.layers_used == 3 for log in done)
