"""A simulated run, read back like a real one."""

from __future__ import annotations

from benchmarks.adaptation.simulated_trace import ObservedPolicy, simulated, trace_lines
from benchmarks.adaptation.simulation import FrameLog, Outcome
from benchmarks.harness.run_trace import FrameRecord, parse_run
from edge_client.adaptation.policy import Decision, FixedPolicy, FrameContext, LatencyBreakdown, PolicyState
from splitnet.operating_point import LOCAL, SKIP, Codec, OperatingPoint

POINT = OperatingPoint(Codec.RANS, 4, 2)
BELIEVED = PolicyState(capacity_bps=2e6, capacity_low_bps=1e6, rtt_min_ms=30.0, overusing=True, load_factor=12.0)
TERMS = LatencyBreakdown(1.0, 2.0, 3.0, 4.0, 5.0)


def test_a_simulated_frame_is_read_like_a_real_one():
    log = FrameLog(7, 0.6, Outcome.MET, Decision(POINT, "best", TERMS), 0.61, 2500, 120.0)
    (record,) = parse_run(trace_lines([log], {7: BELIEVED}, 200.0))
    assert record == FrameRecord(
        time_s=0.6,
        position=6,
        outcome="answered",
        deadline_ms=200.0,
        payload_bytes=2500,
        total_ms=120.0,
        point="w4 q2",
        mode="split",
        predicted_ms=15.0,
        capacity_bps=2e6,
        capacity_low_bps=1e6,
        overusing=True,
        load_factor=12.0,
    )


def test_every_outcome_has_its_name_in_the_trace():
    logs = [
        FrameLog(1, 0.0, Outcome.MET, Decision(LOCAL), total_ms=90.0),
        FrameLog(2, 0.1, Outcome.LATE, Decision(LOCAL), total_ms=900.0),
        FrameLog(3, 0.2, Outcome.SKIPPED, Decision(SKIP)),
        FrameLog(4, 0.3, Outcome.OVERTAKEN),
        FrameLog(5, 0.4, Outcome.UNFINISHED, Decision(POINT)),
    ]
    records = parse_run(trace_lines(logs, {}, 200.0))
    assert [record.outcome for record in records] == ["local", "late", "skipped", "overtaken", "lost"]
    assert [record.point for record in records] == ["local", "local", "skip", None, "w4 q2"]


def test_an_observed_policy_does_what_the_policy_does_and_what_it_believed_is_kept():
    class Believer(FixedPolicy):
        def state(self, now: float) -> PolicyState:
            return PolicyState(capacity_bps=now)

    observed = ObservedPolicy(Believer(POINT))
    assert observed.choose(5.0, FrameContext(3, 4.9, 200.0, 1)).point == POINT
    assert observed.believed == {3: PolicyState(capacity_bps=5.0)}
    assert len(observed.decision_s) == 1
    assert observed.works_offline is Believer(POINT).works_offline
    observed.sent(5.0, 3, 2000)


def test_a_real_frame_is_measured_like_a_simulated_one():
    found = simulated(FrameRecord(0.6, 6, "answered", 200.0, 2500, 120.0, "w4 q2", "split"))
    assert found == FrameLog(7, 0.6, Outcome.MET, Decision(POINT), 0.6, 2500, 120.0)
    outcomes = ["local", "late", "skipped", "overtaken", "lost", "refused"]
    assert [simulated(FrameRecord(0.0, 0, outcome, 200.0)).outcome for outcome in outcomes] == [
        Outcome.MET,
        Outcome.LATE,
        Outcome.SKIPPED,
        Outcome.OVERTAKEN,
        Outcome.UNFINISHED,
        Outcome.UNFINISHED,
    ]
