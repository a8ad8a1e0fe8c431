"""When the last answer stands for a frame that is not sent."""

from __future__ import annotations

import pytest

from edge_client.frames import EncodedFrame
from edge_client.repetition import Repetition
from tests.support.client_samples import POINT, captured_frame, result

FOUND = result(1)


def unchanged(builds_on: int | None = 1, is_unchanged: bool = True) -> EncodedFrame:
    return EncodedFrame(POINT, b"x" * 18, 1.0, 4.0, 0.1, builds_on=builds_on, is_unchanged=is_unchanged)


def answered(limit_s: float = 1.0) -> Repetition:
    known = Repetition(limit_s)
    known.answered(FOUND)
    return known


def test_an_unchanged_frame_gets_the_answer_of_the_one_it_repeats():
    assert answered().of(captured_frame(2), unchanged()) is FOUND


@pytest.mark.parametrize(
    "encoded", [unchanged(is_unchanged=False), unchanged(builds_on=0), unchanged(builds_on=None)], ids=range(3)
)
def test_a_frame_that_differs_or_repeats_another_one_is_sent(encoded):
    assert answered().of(captured_frame(2), encoded) is None


def test_an_answer_is_repeated_until_it_is_too_old():
    known = answered(limit_s=1.0)
    assert known.of(captured_frame(10), unchanged()) is FOUND
    assert known.of(captured_frame(11), unchanged()) is None  # a second after the first


def test_nothing_is_repeated_unless_it_is_asked_for():
    assert answered(limit_s=0.0).of(captured_frame(1), unchanged()) is None


def test_boxes_in_pixels_of_another_size_are_not_repeated():
    assert answered().of(captured_frame(2, (128, 96)), unchanged()) is None


def test_an_answer_that_comes_late_does_not_replace_a_newer_one():
    known = Repetition(10.0)
    newer = result(3)
    known.answered(newer)
    known.answered(result(2))
    assert known.of(captured_frame(4), unchanged(builds_on=3)) is newer
