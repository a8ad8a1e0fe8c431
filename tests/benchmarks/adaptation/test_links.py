"""The links of the adaptation benchmark, and the chains that make some of them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.adaptation.link_model import STEP_S, LinkModel, fitted, known_models
from benchmarks.adaptation.links import FIRST_FRESH_SEED, GENERATED_S, Link, chosen_links, generated, made_up
from benchmarks.harness.traces import steps


def test_a_seed_always_gives_the_same_link_and_another_one_another():
    one, again, other = generated(7).trace, generated(7).trace, generated(11).trace
    assert (one.bytes_ == again.bytes_).all()
    assert not np.array_equal(one.bytes_, other.bytes_)


def test_four_kinds_take_turns_and_all_but_the_last_have_a_law():
    links = [generated(1000 + i) for i in range(5)]
    names = ["3g-1000", "lte-1001", "5g-1002", "wandering-1003", "3g-1004"]
    assert [link.trace.name for link in links] == names
    assert [link.law is not None for link in links] == [True, True, True, False, True]
    assert all(link.trace.duration_s == pytest.approx(GENERATED_S) for link in links)


@pytest.mark.parametrize("seed", range(8))
def test_a_generated_link_has_the_rates_of_its_states(seed):
    link = generated(seed)
    if link.law is None:
        assert 0.04 < link.trace.capacity_bps(0.0, GENERATED_S) / 1e6 < 150
        return
    for step in (0, 100, 599):
        expected = link.law.model.rates_bps[link.law.states[step]]
        begin = step * STEP_S
        assert link.trace.capacity_bps(begin + 1e-4, begin + STEP_S - 1e-4) == pytest.approx(expected, rel=0.03)


def test_seeds_that_were_looked_at_are_told_from_fresh_ones():
    assert generated(FIRST_FRESH_SEED - 1).is_tuned_on
    assert not generated(FIRST_FRESH_SEED).is_tuned_on


def test_generated_links_are_cut_and_named_by_their_seed():
    found = chosen_links([], 0.0, 5.0, False, range(3, 5))
    assert [(link.family, link.trace.name, link.trace.duration_s) for link in found] == [
        ("generated", "wandering-3", 5.0),
        ("generated", "3g-4", 5.0),
    ]


def test_halves_of_a_recorded_link_are_for_tuning_and_for_judging(tmp_path):
    (tmp_path / "lte-driving-1.csv").write_text("0,1\n10,3\n20,0\n")
    halves = {piece: chosen_links([tmp_path], 0.0, None, False, (), piece)[0] for piece in ("tune", "judge", "whole")}
    rates = {piece: link.trace.capacity_bps(0.0, link.trace.duration_s) / 1e6 for piece, link in halves.items()}
    assert rates == pytest.approx({"tune": 1.0, "judge": 3.0, "whole": 2.0}, rel=1e-3)
    assert [link.is_tuned_on for link in halves.values()] == [True, False, True]


def test_cameras_that_share_a_link_have_their_part_of_it_each():
    link = generated(1001)
    shared = link.shared(4)
    whole, part = (one.trace.capacity_bps(0.0, GENERATED_S) for one in (link, shared))
    assert part == pytest.approx(whole / 4)
    assert shared.law.model.rates_bps == pytest.approx(link.law.model.rates_bps / 4)
    assert Link("made-up", made_up()[0]).shared(2).law is None


def test_a_fitted_chain_has_the_rates_and_the_changes_of_its_links():
    model = fitted([steps([1.0, 8.0] * 50, 1.0)])
    slow, fast = (int(np.argmin(np.abs(model.rates_bps - bps))) for bps in (1e6, 8e6))
    assert model.rates_bps[[slow, fast]] == pytest.approx([1e6, 8e6], rel=0.02)
    assert model.transitions[slow, slow] == pytest.approx(0.9, abs=0.02)
    assert model.transitions[slow, fast] == pytest.approx(0.1, abs=0.02)
    assert model.transitions.sum(axis=1) == pytest.approx(1.0)
    assert model.start[[slow, fast]] == pytest.approx(0.5, abs=0.05)


def test_a_chain_survives_json_and_is_drawn_alike():
    model = known_models()["lte"]
    again = LinkModel.from_json(model.to_json())
    states = [one.states(50, np.random.default_rng(4)).tolist() for one in (model, again)]
    assert states[0] == states[1]


def test_many_paths_begin_where_they_are_told_to():
    drawn = known_models()["5g"].states(3, np.random.default_rng(4), [0, 5, 9])
    assert drawn.shape == (3, 3)
    assert drawn[:, 0].tolist() == [0, 5, 9]
