"""The load factor: how much slower than nominal a device works."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_client.adaptation.load import FRESH_S, MAX_RATIO, MIN_RATIO, CpuSample, LoadFactor


def loaded(*ratios: float, kind: str = "w4") -> LoadFactor:
    """Return what is known after frames of one width, ten a second."""
    load = LoadFactor()
    for i, ratio in enumerate(ratios):
        load.measured(i / 10, kind, ratio)
    return load


def test_it_begins_at_nominal():
    assert (LoadFactor().factor(0.0, "w4"), LoadFactor().spread_p90, LoadFactor().common) == (1.0, 1.0, 1.0)


def test_a_doubled_load_is_seen_within_five_frames():
    assert loaded(*[1.0] * 20, *[2.0] * 5).factor(2.5, "w4") == pytest.approx(1.97, abs=0.01)


def test_it_falls_more_slowly_than_it_rises():
    assert loaded(2.0).factor(0.0, "w4") - 1 > 2 - loaded(*[2.0] * 30, 1.0).factor(3.0, "w4")


def test_a_width_not_used_lately_shares_the_common_factor():
    load = loaded(*[3.0] * 20)
    assert load.factor(2.0, "w1") == load.common == pytest.approx(3.0, abs=0.01)


def test_a_width_used_lately_keeps_its_own():
    load = loaded(*[3.0] * 20)
    load.measured(2.0, "w1", 1.5)
    assert load.factor(2.0, "w1") < load.factor(2.0, "w4")
    assert load.factor(2.1 + FRESH_S, "w1") == load.common


def test_the_p90_is_above_the_spread_of_nine_frames_in_ten():
    steady, jumpy = loaded(*[1.0] * 30), loaded(*[1.0, 1.0, 1.5] * 10)
    assert steady.spread_p90 == 1.0
    assert jumpy.spread_p90 > 1.1


def test_other_processes_raise_the_factor_before_a_frame_is_measured():
    load = loaded(*[1.0] * 10)
    load.warn(CpuSample(busy=0.9, own=0.1))
    assert load.factor(1.0, "w4") == pytest.approx(1.8)
    load.measured(1.0, "w4", 1.0)  # it has not mattered after all
    assert load.factor(1.0, "w4") == pytest.approx(1.0)


@pytest.mark.parametrize("nonsense", [0.0, -1.0, math.nan, math.inf, MIN_RATIO / 2, MAX_RATIO * 2])
def test_nonsense_is_ignored(nonsense):
    assert loaded(1.5, nonsense).factor(0.1, "w4") == loaded(1.5).factor(0.1, "w4")


@given(st.lists(st.tuples(st.floats(0, 5), st.sampled_from("abc"), st.floats(allow_nan=True)), max_size=60))
def test_the_factor_is_always_a_possible_one(frames):
    load, now = LoadFactor(), 0.0
    for gap_s, kind, ratio in frames:
        now += gap_s
        load.measured(now, kind, ratio)
        assert MIN_RATIO <= load.factor(now, kind) <= MAX_RATIO
        assert 1 <= load.spread_p90 < math.inf


def test_the_share_of_others_is_never_negative():
    assert CpuSample(busy=0.1, own=0.3).others == 0.0
