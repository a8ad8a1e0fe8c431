"""Which weights are sent, where only some are."""

from __future__ import annotations

import numpy as np

from benchmarks.updates.masks import highest, partial_scores


def test_a_score_weighs_how_far_a_weight_went_and_what_that_was_good_for():
    differences = {"a": np.array([3.0, 0.0], np.float32), "b": np.array([1.0], np.float32)}
    contributions = {"a": np.array([0.0, 1.0], np.float32), "b": np.array([3.0], np.float32)}
    scores = partial_scores(differences, contributions, 0.5)
    np.testing.assert_allclose(scores["a"], [0.45, 0.125])  # 9 of 10 and 0 of 4; 0 of 10 and 1 of 4
    np.testing.assert_allclose(scores["b"], [0.425])
    np.testing.assert_allclose(partial_scores(differences, contributions, 1.0)["b"], [0.1])


def test_what_nothing_was_gained_by_has_no_score():
    zeros = {"a": np.zeros(3, np.float32)}
    assert partial_scores(zeros, zeros, 0.5)["a"].tolist() == [0, 0, 0]


def test_the_highest_scores_of_all_tensors_together_are_chosen():
    scores = {"a": np.array([[5.0, 1.0], [2.0, 2.0]], np.float32), "b": np.array([4.0], np.float32)}
    masks = highest(scores, 0.6)
    assert masks["a"].tolist() == [[True, False], [True, False]]  # of equal ones, the first
    assert masks["b"].tolist() == [True]
    assert not any(mask.any() for mask in highest(scores, 0.0).values())
