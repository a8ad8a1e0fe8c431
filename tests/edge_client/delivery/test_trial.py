"""When a new model stays, and when it has to go."""

from __future__ import annotations

import numpy as np

from edge_client.delivery.trial import Figures, Trial, TrialLimits, Verdict
from edge_client.frames import CapturedFrame, EncodedFrame, Fate, FrameOutcome
from splitnet.operating_point import Codec, OperatingPoint

IMAGE = np.zeros((1, 1, 3), np.uint8)
LIMITS = TrialLimits(seconds=10, frames=20)


def fate(encode_ms: float = 5.0, outcome: FrameOutcome = FrameOutcome.ANSWERED, width: int = 1) -> Fate:
    encoded = EncodedFrame(OperatingPoint(Codec.RANS, width, 0), b"", 0.0, encode_ms, 0.0)
    return Fate(outcome, CapturedFrame(0, 0.0, 0.0, IMAGE), None, encoded)


def before(encode_ms: float = 5.0, width: int = 1) -> Figures:
    figures = Figures()
    for _ in range(20):
        figures.add(fate(encode_ms, width=width))
    return figures


def trial(*fates: Fate, old: Figures | None = None) -> Trial:
    one = Trial(old or before(), 0.0, LIMITS)
    for index, each in enumerate(fates):
        one.add(index / 10, each)
    return one


def test_a_model_that_does_as_well_stays_when_its_time_is_over():
    one = trial(*[fate()] * 20)
    assert one.verdict(9.9) is None and one.verdict(10.0) == Verdict()


def test_too_few_frames_say_nothing():
    assert trial(*[fate()] * 19).verdict(100.0) is None


def test_a_slower_model_goes_as_soon_as_enough_frames_say_so():
    assert trial(*[fate(20.0)] * 19).verdict(1.0) is None
    verdict = trial(*[fate(20.0)] * 20).verdict(1.0)
    assert verdict is not None and "encoding takes 20.0 ms, 5.0 ms before" in verdict.reason


def test_a_processor_that_was_busy_for_a_moment_is_not_the_models_fault():
    assert trial(*[fate(20.0)] * 5, *[fate(5.0)] * 15).verdict(10.0) == Verdict()


def test_a_width_that_the_old_model_never_used_is_not_compared():
    assert trial(*[fate(50.0, width=5)] * 20).verdict(10.0) == Verdict()


def test_a_few_milliseconds_are_no_reason():
    assert trial(*[fate(9.0)] * 20).verdict(10.0) == Verdict()


def test_a_model_whose_frames_are_refused_goes():
    verdict = trial(*[fate()] * 8, *[fate(outcome=FrameOutcome.REFUSED)] * 2).verdict(1.0)
    assert verdict is not None and "refuses 20%" in verdict.reason


def test_a_server_that_refused_as_much_before_is_no_reason():
    old = before()
    for _ in range(5):
        old.add(fate(outcome=FrameOutcome.REFUSED))
    assert trial(*[fate()] * 18, *[fate(outcome=FrameOutcome.REFUSED)] * 4, old=old).verdict(1.0) is None


def test_without_a_link_it_waits():
    one = trial(*[fate()] * 5)
    assert one.verdict(1000.0, has_link=False) is None
    assert one.verdict(1001.0) is None  # the link has just come back
    verdict = one.verdict(1200.0)
    assert verdict is not None and "no answer for 120 s" in verdict.reason
