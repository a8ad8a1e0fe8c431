"""Points that nobody would choose: exact, without tolerance, of equals the first one stays."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitnet.dominated import dominated, dominators_of, without_dominated
from splitnet.measured_point import MeasuredPoint
from splitnet.operating_point import Codec, Mode

BASE = MeasuredPoint(Mode.SPLIT, Codec.RANS, 1, 0, 20.0, 30.0, 1000.0, 1200.0, 5.0, 50.0)


def point(width: int, quality: int, **figures: float) -> MeasuredPoint:
    return replace(BASE, width=width, quality=quality, **figures)


def jpeg(quality: int, **figures: float) -> MeasuredPoint:
    return replace(BASE, mode=Mode.IMAGE, codec=Codec.JPEG, width=0, quality=quality, mmacs=0.0, **figures)


def names(points: list[MeasuredPoint]) -> dict[str, str]:
    return {str(worse.point): str(better.point) for worse, better in dominated(points).items()}


def test_a_point_that_is_worse_in_everything_is_named_with_the_one_that_dominates_it():
    points = [point(2, 0, ap=19.0, bytes_mean=1100.0, bytes_p90=1300.0, mmacs=90.0), BASE]
    assert names(points) == {"w2 q0": "w1 q0"}
    assert without_dominated(points) == (BASE,)


@pytest.mark.parametrize(
    "better",
    [{"ap": 20.1}, {"bytes_mean": 999.9}, {"bytes_p90": 1199.9}, {"mmacs": 49.99}],
    ids=lambda d: next(iter(d)),
)
def test_being_better_in_one_thing_alone_is_enough_to_stay_and_to_dominate_an_equal(better):
    worse = {"ap": 19.0, "bytes_mean": 1100.0, "bytes_p90": 1300.0, "mmacs": 60.0}
    assert names([BASE, point(2, 0, **{**worse, **better})]) == {}
    assert names([BASE, point(2, 0, **better)]) == {"w1 q0": "w2 q0"}


def test_of_equal_points_the_first_stays():
    assert names([BASE, point(1, 1), point(1, 2)]) == {"w1 q1": "w1 q0", "w1 q2": "w1 q0"}


def test_the_slower_of_two_split_points_is_no_worse_for_that():
    assert names([BASE, point(2, 0, ap=21.0, encode_ms_p50=9.0)]) == {"w1 q0": "w2 q0"}


def test_images_are_compared_by_their_encode_time_and_with_images_only():
    cheap = jpeg(30, ap=10.0, encode_ms_p50=1.0)
    slower = jpeg(50, ap=10.0, encode_ms_p50=1.1)
    assert names([BASE, cheap, slower]) == {"jpeg 50": "jpeg 30"}
    assert names([BASE, jpeg(30, ap=10.0, bytes_mean=5000.0, bytes_p90=6000.0)]) == {}


def test_the_most_accurate_that_dominates_is_named_and_never_a_dominated_one():
    chain = [point(1, 0), point(1, 1, ap=21.0), point(1, 2, ap=22.0)]
    assert names(chain) == {"w1 q0": "w1 q2", "w1 q1": "w1 q2"}
    either = [point(1, 0), point(1, 1, ap=21.0, bytes_mean=900.0), point(1, 2, ap=22.0, bytes_mean=950.0)]
    assert names(either) == {"w1 q0": "w1 q2"}


def test_nothing_of_nothing():
    assert without_dominated([]) == ()


def test_a_point_measured_twice_is_kept():
    assert set(without_dominated([BASE, BASE])) == {BASE}


figures = st.builds(
    point,
    st.integers(1, 4),
    st.integers(0, 5),
    ap=st.integers(0, 4).map(float),
    bytes_mean=st.integers(1, 4).map(float),
    bytes_p90=st.integers(1, 4).map(float),
    mmacs=st.integers(1, 4).map(float),
)


def test_a_measured_point_knows_what_it_is_called():
    assert [str(BASE.point), str(jpeg(30).point)] == ["w1 q0", "jpeg 30"]


def test_costs_of_any_kind_are_compared_by_the_same_rule():
    assert dominators_of([(2.0, 5.0), (1.0, 5.0), (3.0, 1.0), (3.0, 1.0), (4.0, 6.0)]) == {0: 1, 3: 2, 4: 2}
    assert dominators_of([]) == {}


@given(st.lists(figures, max_size=12, unique_by=lambda p: (p.width, p.quality)))
def test_for_everything_that_goes_something_better_stays(points):
    kept, gone = without_dominated(points), dominated(points)
    assert len(kept) + len(gone) == len(points)
    assert all(by in kept for by in gone.values())
    for worse, by in gone.items():
        assert by.ap >= worse.ap
        assert (by.mmacs, by.bytes_mean) <= (worse.mmacs, max(by.bytes_mean, worse.bytes_mean))
        assert by.bytes_mean <= worse.bytes_mean
    assert dominated(kept) == {}
