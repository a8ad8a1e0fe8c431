"""The sentence that an evaluation ends with."""

from __future__ import annotations

import pytest

from splitnet.measured_point import MeasuredPoint
from splitnet.operating_point import Codec, Mode
from training.evaluation.equal_accuracy import bytes_for, conclusion


def point(codec: Codec, ap: float, bytes_mean: float, quality: int = 0) -> MeasuredPoint:
    mode, width = (Mode.SPLIT, 1) if codec is Codec.RANS else (Mode.IMAGE, 0)
    return MeasuredPoint(mode, codec, width, quality, ap, 2 * ap, bytes_mean, 2 * bytes_mean, 1.0, 0.0)


SPLIT = [point(Codec.RANS, 20.0, 1000.0), point(Codec.RANS, 25.0, 2000.0, 1), point(Codec.RANS, 25.0, 3000.0, 2)]
JPEG = [point(Codec.JPEG, ap, size, i) for i, (ap, size) in enumerate([(10.0, 4000.0), (30.0, 16000.0)])]
WEBP = [point(Codec.WEBP, ap, size, i) for i, (ap, size) in enumerate([(22.0, 4000.0), (24.0, 9000.0)])]


def test_the_bytes_lie_between_two_points_on_a_logarithmic_scale():
    assert bytes_for(20.0, JPEG) == pytest.approx(8000.0)
    assert bytes_for(30.0, JPEG) == pytest.approx(16000.0)


def test_below_the_smallest_point_its_bytes_count():
    assert bytes_for(5.0, JPEG) == 4000.0


def test_an_accuracy_that_is_not_reached_takes_no_bytes():
    assert bytes_for(31.0, JPEG) is None
    assert bytes_for(1.0, []) is None


def test_a_point_that_others_beat_does_not_count():
    assert bytes_for(20.0, [JPEG[0], point(Codec.JPEG, 9.0, 5000.0, 7), JPEG[1]]) == pytest.approx(8000.0)


def test_the_best_split_point_is_compared_and_of_equals_the_smallest():
    assert conclusion([*SPLIT, *JPEG, *WEBP]) == (
        "w1 q1 gives AP 25.0 with 2.0 KB a frame; JPEG needs 11.3 KB for it, WebP does not reach it."
    )


@pytest.mark.parametrize("points", [[], SPLIT, JPEG])
def test_without_both_sides_there_is_nothing_to_compare(points):
    assert conclusion(points) is None
