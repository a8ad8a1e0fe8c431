"""The ledger of a frame's way, and whom it tells."""

from __future__ import annotations

from dataclasses import replace

import grpc
import numpy as np
import pytest

from edge_client.adaptation.controller import UNATTAINABLE
from edge_client.adaptation.load import CpuSample
from edge_client.adaptation.policy import Decision, FrameContext, LatencyBreakdown, Policy, PolicyState
from edge_client.frames import EncodedFrame, Fate, FrameOutcome, Moved, SentFrame, actual_breakdown
from edge_client.ledger import FrameLedger
from splitnet.detections import Detections
from splitnet.letterbox import Letterbox
from splitnet.messages import Ack, FrameDetections, FrameError, ServerTiming
from splitnet.operating_point import LOCAL, SKIP, OperatingPoint
from tests.support.client_samples import POINT, captured_frame, chosen_frame, dropped, sent_frame

TIMING = ServerTiming(2.0, 1.0, 20.0)


class ScriptedPolicy(Policy):
    """Chooses one point after the other, and writes down what it is told."""

    def __init__(self, *points: OperatingPoint, reason: str = "script") -> None:
        self.points = list(points)
        self.reason = reason
        self.told: list[tuple[object, ...]] = []

    def choose(self, now, context):
        return Decision(self.points.pop(0), self.reason)

    def state(self, now):
        return PolicyState(capacity_bps=2e6)

    def encoded(self, now, frame_id, point, encode_ms, payload_bytes, builds):
        self.told.append(("encoded", frame_id, point, encode_ms, payload_bytes))

    def sent(self, now, frame_id, payload_bytes, layer=0):
        self.told.append(("sent", frame_id, payload_bytes))

    def acked(self, now, ack):
        self.told.append(("acked", ack.frame_id))

    def answered(self, now, frame_id, timing, missing_layers=0):
        self.told.append(("answered", frame_id, timing))

    def failed(self, now, frame_id):
        self.told.append(("failed", frame_id))

    def link_up(self, now, codecs=None):
        self.told.append(("up",))

    def link_down(self, now):
        self.told.append(("down",))

    def detected_locally(self, now, frame_id, duration_ms):
        self.told.append(("local", frame_id, duration_ms))

    def sampled(self, now, sample):
        self.told.append(("sampled", sample))

    def follow(self, earlier):
        self.told.append(("follow", earlier))


class Clock:
    """Shows the time that it was set to, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def fates():
    return []


def ledger_of(policy: Policy, clock: Clock, fates: list[Fate], has_local: bool = True) -> FrameLedger:
    return FrameLedger(policy, 100.0, clock, has_local, fates.append)


def context(frame_id: int = 1, can_send: bool = True) -> FrameContext:
    return FrameContext(frame_id, frame_id / 10, 100.0, 1, can_send)


def test_a_frame_is_told_from_its_choice_to_its_answer(clock, fates):
    policy = ScriptedPolicy(POINT)
    ledger = ledger_of(policy, clock, fates)
    frame = captured_frame(1)
    ledger.captured(frame)
    clock.now = 0.105
    chosen = ledger.choose(frame, context())
    encoded = EncodedFrame(POINT, b"x" * 1500, 1.0, 4.0, 0.5)
    ledger.encoded(chosen, encoded)
    sent = SentFrame(chosen, encoded)
    ledger.sent(sent)
    ledger.acked(Ack(1, 1500, 7, 1))
    clock.now = 0.150
    result = ledger.answered(sent, FrameDetections(1, 0, Detections.empty(), TIMING))
    assert policy.told == [
        ("encoded", 1, POINT, 5.5, 1500),
        ("sent", 1, 1500),
        ("acked", 1),
        ("answered", 1, TIMING),
    ]
    assert result.end_to_end_ms == pytest.approx(50.0)
    assert not result.late
    assert chosen.chosen_at == 0.105
    assert chosen.policy_state == PolicyState(capacity_bps=2e6)
    (fate,) = fates
    assert (fate.outcome, fate.frame, fate.result) == (FrameOutcome.ANSWERED, frame, result)
    run = ledger.statistics
    assert (run.captured, run.answered, run.detected, dropped(run)) == (1, 1, 1, 0)
    assert run.policy_state.capacity_bps == 2e6


def test_what_is_found_in_a_moved_picture_is_moved_back(clock, fates):
    ledger = ledger_of(ScriptedPolicy(POINT), clock, fates)
    sent = sent_frame(1)
    moved = Moved(Letterbox.fit(100, 100, 50), (2.0, 0.0))
    sent = SentFrame(sent.chosen, replace(sent.encoded, moved=moved))
    found = Detections(np.float32([[14, 10, 24, 20]]), np.float32([0.9]), np.int32([1]))
    result = ledger.answered(sent, FrameDetections(1, 0, found, TIMING, further=(found,)))
    assert result.detections.boxes.tolist() == result.further[0].boxes.tolist() == [[10, 10, 20, 20]]


def test_an_answer_after_the_deadline_is_late(clock, fates):
    ledger = ledger_of(ScriptedPolicy(), clock, fates)
    clock.now = 0.1 + 0.1001
    assert ledger.answered(sent_frame(1), FrameDetections(1, 0, Detections.empty(), TIMING)).late
    assert fates[0].outcome is FrameOutcome.LATE
    assert ledger.statistics.late == 1


def test_the_devices_own_detections_are_told_apart(clock, fates):
    policy = ScriptedPolicy(LOCAL)
    ledger = ledger_of(policy, clock, fates)
    chosen = ledger.choose(captured_frame(1), context(can_send=False))
    clock.now = 0.14
    result = ledger.detected(chosen, EncodedFrame(LOCAL, b"", 1.0, 30.0, 0.0), Detections.empty())
    assert policy.told == [("local", 1, 31.0)]
    assert result.server == ServerTiming(0.0, 0.0, 0.0)
    assert fates[0].outcome is FrameOutcome.LOCAL
    run = ledger.statistics
    assert (run.local, run.answered, run.detected) == (1, 0, 1)
    assert run.modes() == {"split": 0, "image": 0, "local": 1, "skip": 0}


@pytest.mark.parametrize(
    ("point", "can_send", "has_local", "reason"),
    [
        (POINT, False, True, "nothing can be sent now"),
        (LOCAL, True, False, "no detector on this device"),
        (SKIP, True, True, "script"),
    ],
)
def test_what_cannot_be_had_is_skipped(clock, fates, point, can_send, has_local, reason):
    ledger = ledger_of(ScriptedPolicy(point), clock, fates, has_local)
    chosen = ledger.choose(captured_frame(1), context(can_send=can_send))
    assert chosen.decision == Decision(SKIP, reason)
    ledger.skipped(chosen)
    assert fates[0].outcome is FrameOutcome.SKIPPED
    assert ledger.statistics.skipped == 1


def test_every_other_end_is_counted_once(clock, fates):
    policy = ScriptedPolicy()
    ledger = ledger_of(policy, clock, fates)
    ledger.overtaken(captured_frame(1))
    ledger.overtaken(captured_frame(2), chosen_frame(2, LOCAL))
    ledger.lost(sent_frame(3))
    busy = FrameError(4, 0, grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
    assert ledger.refused(sent_frame(4), busy)
    assert not ledger.refused(sent_frame(5), busy)
    outcomes = ["overtaken", "overtaken", "lost", "refused", "refused"]
    assert [fate.outcome.value for fate in fates] == outcomes
    assert [fate.chosen is not None for fate in fates] == [False, True, True, True, True]
    assert policy.told == [("failed", 3), ("failed", 4), ("failed", 5)]
    run = ledger.statistics
    assert (run.overtaken, run.lost, run.refused, dropped(run)) == (2, 1, {"resource_exhausted": 2}, 5)


def test_the_link_and_the_processor_are_told_as_well(clock, fates):
    policy = ScriptedPolicy(POINT)
    ledger = ledger_of(policy, clock, fates)
    sample = CpuSample(busy=0.5, own=0.25)
    ledger.link_up("near:1")
    ledger.link_down()
    ledger.sampled(sample)
    assert policy.told == [("up",), ("down",), ("sampled", sample)]
    assert ledger.statistics.sessions == 1
    assert ledger.choose(captured_frame(1), context()).cpu == sample


def test_switches_are_counted_between_choices(clock, fates):
    ledger = ledger_of(ScriptedPolicy(POINT, POINT, LOCAL, SKIP, POINT), clock, fates)
    for frame_id in range(1, 6):
        ledger.choose(captured_frame(frame_id), context(frame_id))
    assert ledger.statistics.switches == 3
    assert ledger.statistics.switches_per_minute(30.0) == 6.0


def test_a_deadline_that_nothing_meets_is_said_once(clock, fates, caplog):
    ledger = ledger_of(ScriptedPolicy(POINT, POINT, reason=UNATTAINABLE), clock, fates)
    for frame_id in (1, 2):
        ledger.choose(captured_frame(frame_id), context(frame_id))
    assert caplog.text.count("nothing meets the deadline of 100 ms") == 1


def test_the_parts_of_a_latency_add_up(clock, fates):
    ledger = ledger_of(ScriptedPolicy(), clock, fates)
    clock.now = 0.160
    chosen = chosen_frame(1, predicted=LatencyBreakdown(encode_ms=5.0), policy_state=PolicyState(rtt_min_ms=10.0))
    encoded = EncodedFrame(POINT, b"x", 1.0, 4.0, 0.5)
    result = ledger.answered(SentFrame(chosen, encoded), FrameDetections(1, 0, Detections.empty(), TIMING))
    breakdown = actual_breakdown(chosen, result)
    assert breakdown == LatencyBreakdown(*map(pytest.approx, (2.0, 5.5, 19.5, 10.0, 23.0)))
    assert breakdown.total_ms == pytest.approx(result.end_to_end_ms)
    assert ledger.statistics.prediction.frames == 1
    assert ledger.statistics.prediction.error.percentile_ms(50) == pytest.approx(55.0, rel=0.003)


def test_a_policy_that_takes_over_is_told_whom_it_follows(clock, fates):
    first, second = ScriptedPolicy(POINT), ScriptedPolicy(POINT)
    ledger = ledger_of(first, clock, fates)
    ledger.use(second)
    ledger.link_up("edge")
    assert (first.told, second.told) == ([], [("follow", first), ("up",)])
