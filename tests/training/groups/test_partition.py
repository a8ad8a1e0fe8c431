"""The rules that share a teacher's filters out, by exact values."""

from __future__ import annotations

import numpy as np
import pytest

from splitnet.errors import ConfigError
from training.groups.partition import (
    KEPT,
    RULES,
    coactivation_weights,
    communities_of,
    correlation_weights,
    graph_of,
    levelled,
    partition,
    published_weights,
    strengths,
)


def cliques(sizes: tuple[int, ...], images: int = 40, seed: int = 0) -> np.ndarray:
    """Return activations of filters of which those of one clique are active in the same images."""
    draw = np.random.default_rng(seed)
    filters = sum(sizes)
    of = np.repeat(np.arange(len(sizes)), sizes)
    active = np.arange(images)[:, None] % len(sizes) == of
    return np.where(active, draw.uniform(0.3, 1.0, (images, filters)), 0.0)


def test_activations_are_cut_at_zero_and_divided_by_the_largest_of_the_image():
    found = strengths(np.array([[2.0, -1.0, 1.0], [0.0, 0.0, 0.0], [-3.0, -2.0, -1.0]]))
    assert found.tolist() == [[1.0, 0.0, 0.5], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_only_the_strongest_filters_of_an_image_are_kept():
    image = np.arange(1.0, KEPT + 11)[None]
    found = strengths(image)[0]
    assert np.count_nonzero(found) == KEPT and (found[:10] == 0).all() and found[-1] == 1.0


def test_an_edge_weighs_the_product_times_the_difference_summed_over_images():
    weights = published_weights(np.array([[4.0, 2.0, 1.0], [1.0, 2.0, 0.0]]))
    first = {(0, 1): 1 * 0.5 * 0.5, (0, 2): 1 * 0.25 * 0.75, (1, 2): 0.5 * 0.25 * 0.25}
    assert weights[0, 1] == pytest.approx(first[0, 1] + 0.5 * 1 * 0.5)
    assert weights[0, 2] == pytest.approx(first[0, 2])
    assert weights[1, 2] == pytest.approx(first[1, 2])
    assert (weights == weights.T).all() and (np.diag(weights) == 0).all()


def test_coactivation_is_the_plain_product():
    weights = coactivation_weights(np.array([[4.0, 2.0, 1.0], [1.0, 2.0, 0.0]]))
    assert weights[0, 1] == pytest.approx(1 * 0.5 + 0.5 * 1) and weights[0, 0] == 0


def test_correlation_knows_no_negative_edges_and_no_filters_that_never_vary():
    activations = np.array([[1.0, 2.0, 3.0, 5.0], [2.0, 4.0, 2.0, 5.0], [3.0, 6.0, 1.0, 5.0]])
    weights = correlation_weights(activations)
    assert weights[0, 1] == pytest.approx(1.0)
    assert weights[0, 2] == 0 and weights[3].tolist() == [0, 0, 0, 0]


def test_the_graph_has_the_heaviest_hundredth_of_the_edges():
    weights = np.zeros((30, 30))
    rows, columns = np.triu_indices(30, 1)
    weights[rows, columns] = np.arange(1, len(rows) + 1)
    edges = {frozenset(edge) for edge in graph_of(weights + weights.T).edges}
    assert edges == {frozenset(edge) for edge in [(26, 28), (26, 29), (27, 28), (27, 29), (28, 29)]}
    assert len(graph_of(np.zeros((5, 5)))) == 0


def test_the_published_rule_leaves_out_the_largest_community_and_gives_leftovers_to_the_smallest_part(monkeypatch):
    monkeypatch.setattr("training.groups.partition.PERCENTILE", 0.0)
    found = partition("published", cliques((6, 5, 4, 3, 2)), parts=2)
    largest, one, two, left, last = range(6), range(6, 11), range(11, 15), range(15, 18), range(18, 20)
    assert found == ((*one, *last), (*two, *left))
    assert not {*largest} & {filter_ for part in found for filter_ in part}


def test_communities_of_equal_size_stay_apart(monkeypatch):
    monkeypatch.setattr("training.groups.partition.PERCENTILE", 0.0)
    found = communities_of(graph_of(published_weights(cliques((3, 3, 3)))), seed=0)
    assert found == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_with_fewer_communities_than_devices_the_largest_is_split(monkeypatch):
    monkeypatch.setattr("training.groups.partition.PERCENTILE", 0.0)
    found = partition("published", cliques((7, 6)), parts=3)
    assert sorted(filter_ for part in found for filter_ in part) == list(range(7, 13))
    assert sorted(map(len, found)) in ([1, 2, 3], [2, 2, 2])


def test_filters_that_are_never_active_cannot_be_shared_out_by_the_published_rule():
    with pytest.raises(ConfigError, match="cannot be shared out among 2 devices"):
        partition("published", np.zeros((4, 8)), parts=2)


@pytest.mark.parametrize("rule", [name for name in RULES if name != "published"])
def test_every_other_rule_covers_all_filters_by_equal_parts_and_keeps_to_its_seed(rule):
    activations = np.random.default_rng(1).gamma(1.0, 1.0, (60, 22))
    found = partition(rule, activations, parts=4, seed=3)
    assert sorted(filter_ for part in found for filter_ in part) == list(range(22))
    assert sorted(map(len, found)) == [5, 5, 6, 6]
    assert partition(rule, activations, parts=4, seed=3) == found


def test_one_part_has_everything_by_any_rule():
    assert partition("published", np.ones((2, 5)), parts=1) == ((0, 1, 2, 3, 4),)


def test_groups_that_fit_stay_together_when_sizes_are_levelled():
    assert levelled([[0, 1, 2], [3, 4]], filters=6, parts=2) == ((0, 1, 2), (3, 4, 5))
    assert levelled([[0, 1, 2, 3], [4]], filters=6, parts=2) == ((0, 1, 2), (3, 4, 5))


@pytest.mark.parametrize(
    ("rule", "activations", "parts", "message"),
    [
        ("best", np.ones((4, 8)), 2, "no rule is called 'best'; there are published, covering"),
        ("random", np.ones((1, 8)), 2, "two or more images"),
        ("random", np.full((4, 8), np.nan), 2, "finite"),
        ("random", np.ones((4, 8)), 9, "8 filters cannot be shared out among 9 devices"),
        ("random", np.ones((4, 8)), 0, "among 0 devices"),
    ],
)
def test_what_cannot_be_shared_out_is_said(rule, activations, parts, message):
    with pytest.raises(ConfigError, match=message):
        partition(rule, activations, parts)
