"""The links of the adaptation benchmark."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.adaptation.links import GENERATED_S, LEAST_MBPS, MOST_MBPS, chosen_links, generated


def test_a_seed_always_gives_the_same_link_and_another_one_another():
    one, again, other = generated(7), generated(7), generated(8)
    assert (one.times_s == again.times_s).all()
    assert len(one.times_s) != len(other.times_s)


@pytest.mark.parametrize("seed", range(5))
def test_a_generated_link_wanders_about_a_mean_and_is_away_now_and_then(seed):
    link = generated(seed)
    assert link.duration_s == pytest.approx(GENERATED_S)
    assert LEAST_MBPS / 5 < link.capacity_bps(0.0, GENERATED_S) / 1e6 < MOST_MBPS * 5
    assert 0.2 < np.diff(link.times_s).max() < 20


def test_generated_links_are_cut_and_named_by_their_seed():
    found = chosen_links([], 0.0, 5.0, False, range(3, 5))
    assert [(family, link.name, link.duration_s) for family, link in found] == [
        ("generated", "generated-3-outages", 5.0),
        ("generated", "generated-4-outages", 5.0),
    ]
