"""The partition of a teacher's filters among devices, by how they are active together. Pure.

The published rule is that of Bhardwaj et al., "Memory- and Communication-Aware Model Compression for Distributed Deep
Learning Inference on IoT", 2019, and of the framework that its authors released. The other rules are there to be
compared with it; all of them give parts of equal size that together cover every filter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import networkx
import numpy as np
from numpy.typing import NDArray

from splitnet.errors import ConfigError

KEPT = 50  # of an image's filters: the strongest
PERCENTILE = 99.0  # of the edges' weights: lighter edges are dropped
RESOLUTION = 0.7  # of Louvain's method
SIZE_PENALTY = 0.05  # modularity that a part gives up for each share of filters that it has too many
ROUNDS = 50

Floats = NDArray[np.float64]
Parts = tuple[tuple[int, ...], ...]


def strengths(activations: Floats) -> Floats:
    """Return activations (images, filters) as the rules read them: none below zero, the largest of an image 1.

    Of each image only the strongest KEPT filters are left, the others are zero.
    """
    positive = np.maximum(activations, 0.0)
    scaled: Floats = positive / np.maximum(positive.max(1, keepdims=True), 1e-12)
    if scaled.shape[1] > KEPT:
        least = np.partition(scaled, -KEPT, axis=1)[:, -KEPT][:, None]
        scaled = np.where(scaled >= least, scaled, 0.0)
    return scaled


def published_weights(activations: Floats) -> Floats:
    """Return the weight of each edge: the sum over images of a_i a_j |a_i - a_j| (filters, filters)."""
    strong = strengths(activations)
    weights = np.zeros((strong.shape[1],) * 2)
    for image in strong:  # most of an image is zero
        own = np.flatnonzero(image)
        a = image[own]
        weights[np.ix_(own, own)] += np.outer(a, a) * np.abs(a[:, None] - a)
    return weights


def coactivation_weights(activations: Floats) -> Floats:
    """Return the weight of each edge: the sum over images of a_i a_j (filters, filters)."""
    strong = strengths(activations)
    return _without_loops(strong.T @ strong)


def correlation_weights(activations: Floats) -> Floats:
    """Return the weight of each edge: the correlation of two filters' activations, where it is above zero."""
    spread = activations.std(0) > 1e-9
    weights = np.zeros((activations.shape[1],) * 2)
    weights[np.ix_(spread, spread)] = np.atleast_2d(np.corrcoef(activations[:, spread].T))
    return _without_loops(np.maximum(weights, 0.0))


def graph_of(weights: Floats) -> networkx.Graph:
    """Return the graph of the heaviest edges. A filter without such an edge is not in it."""
    upper = np.triu(weights, 1)
    present = upper[upper > 0]
    least = np.percentile(present, PERCENTILE) if present.size else np.inf
    rows, columns = np.nonzero((upper >= least) & (upper > 0))
    graph = networkx.Graph()
    edges = zip(rows.tolist(), columns.tolist(), upper[rows, columns].tolist(), strict=True)
    graph.add_weighted_edges_from(edges)
    return graph


def communities_of(graph: networkx.Graph, seed: int) -> list[list[int]]:
    """Return the communities that Louvain's method finds, the largest first, equal ones by their first filter."""
    if not graph:
        return []
    found = networkx.community.louvain_communities(graph, resolution=RESOLUTION, seed=seed)
    return _by_size(sorted(one) for one in found)


def published(activations: Floats, parts: int, seed: int) -> Parts:
    """Return the parts of the published rule: the largest community is left out, the next ones are the parts.

    What is left over goes to the part that is the smallest at the time. Too few communities: the largest is split.
    """
    graph = graph_of(published_weights(activations))
    found = communities_of(graph, seed)
    usable = found[1:] if len(found) > 1 else found
    while 0 < len(usable) < parts and len(usable[0]) > 1:
        halves = networkx.community.kernighan_lin_bisection(graph.subgraph(usable[0]), seed=seed)
        usable = _by_size([*(sorted(half) for half in halves), *usable[1:]])
    if len(usable) < parts:
        raise ConfigError(f"the teacher's active filters cannot be shared out among {parts} devices: use fewer")
    chosen = [list(one) for one in usable[:parts]]
    for rest in usable[parts:]:
        min(chosen, key=len).extend(rest)
    return tuple(tuple(sorted(one)) for one in chosen)


def covering(activations: Floats, parts: int, seed: int) -> Parts:
    """Return parts by the published weights, but nothing is left out, and all parts have the same size."""
    return _of_communities(published_weights(activations), parts, seed)


def coactivation(activations: Floats, parts: int, seed: int) -> Parts:
    """Return parts by the co-activation of filters."""
    return _of_communities(coactivation_weights(activations), parts, seed)


def correlation(activations: Floats, parts: int, seed: int) -> Parts:
    """Return parts by the correlation of filters."""
    return _of_communities(correlation_weights(activations), parts, seed)


def k_means(activations: Floats, parts: int, seed: int) -> Parts:
    """Return parts by k-means (Lloyd's method) over the filters' profiles of activation."""
    draw = np.random.default_rng(seed)
    profiles = activations.T / np.maximum(np.linalg.norm(activations.T, axis=1, keepdims=True), 1e-12)
    centres = profiles[draw.choice(len(profiles), parts, replace=False)]
    nearest = np.zeros(len(profiles), np.int64)
    for _ in range(ROUNDS):
        nearest = np.argmax(profiles @ centres.T - 0.5 * (centres**2).sum(1), axis=1)
        centres = np.stack([_mean(profiles[nearest == one], centres[one]) for one in range(parts)])
    groups = [np.flatnonzero(nearest == one).tolist() for one in range(parts)]
    return levelled(_by_size(groups), len(profiles), parts)


def modularity(activations: Floats, parts: int, seed: int) -> Parts:
    """Return parts of high modularity by the published weights; a part pays for each filter that it has too many."""
    weights = published_weights(activations)
    total = max(weights.sum(), 1e-12)
    degrees = weights.sum(1)
    gains = (weights - np.outer(degrees, degrees) / total) / total
    filters, draw = len(weights), np.random.default_rng(seed)
    of = draw.permutation(np.arange(filters) % parts)
    for _ in range(ROUNDS):
        before = of.copy()
        for one in draw.permutation(filters):
            of[one] = -1
            sizes = np.bincount(of[of >= 0], minlength=parts)
            within = np.array([2 * gains[one, of == part].sum() for part in range(parts)])
            of[one] = int(np.argmax(within - SIZE_PENALTY * sizes / filters))
        if (of == before).all():
            break
    return levelled(_by_size(np.flatnonzero(of == part).tolist() for part in range(parts)), filters, parts)


def shuffled(activations: Floats, parts: int, seed: int) -> Parts:
    """Return parts drawn at random."""
    order = np.random.default_rng(seed).permutation(activations.shape[1])
    return tuple(tuple(sorted(one.tolist())) for one in np.array_split(order, parts))


def contiguous(activations: Floats, parts: int, seed: int) -> Parts:
    """Return the filters in their order, cut into equal parts."""
    return tuple(tuple(one.tolist()) for one in np.array_split(np.arange(activations.shape[1]), parts))


def levelled(groups: Sequence[Sequence[int]], filters: int, parts: int) -> Parts:
    """Return parts of equal size (to one filter) that cover all: groups stay together as far as they fit.

    Each group goes to the part with the most room, what does not fit to the next one. Filters of no group come last.
    """
    room = [len(one) for one in np.array_split(np.arange(filters), parts)]
    filled: list[list[int]] = [[] for _ in room]
    grouped = {one for group in groups for one in group}
    for group in [*groups, [one for one in range(filters) if one not in grouped]]:
        rest = list(group)
        while rest:
            into = max(range(parts), key=lambda part: room[part] - len(filled[part]))
            fits = room[into] - len(filled[into])
            filled[into] += rest[:fits]
            rest = rest[fits:]
    return tuple(tuple(sorted(one)) for one in filled)


RULES: Mapping[str, Callable[[Floats, int, int], Parts]] = {
    "published": published,
    "covering": covering,
    "coactivation": coactivation,
    "correlation": correlation,
    "k-means": k_means,
    "modularity": modularity,
    "random": shuffled,
    "contiguous": contiguous,
}


def partition(rule: str, activations: Floats, parts: int, seed: int = 0) -> Parts:
    """Return which filters each device's part has. activations: (images, filters), means over positions.

    ConfigError on an unknown rule, on activations that are none, or on fewer filters than devices.
    """
    if rule not in RULES:
        raise ConfigError(f"no rule is called {rule!r}; there are {', '.join(RULES)}")
    if activations.ndim != 2 or len(activations) < 2 or not np.isfinite(activations).all():
        raise ConfigError("a partition needs finite activations of two or more images")
    if not 1 <= parts <= activations.shape[1]:
        raise ConfigError(f"{activations.shape[1]} filters cannot be shared out among {parts} devices")
    if parts == 1:
        return (tuple(range(activations.shape[1])),)
    return RULES[rule](np.asarray(activations, np.float64), parts, seed)


def _of_communities(weights: Floats, parts: int, seed: int) -> Parts:
    return levelled(communities_of(graph_of(weights), seed), len(weights), parts)


def _by_size(groups: Iterable[Sequence[int]]) -> list[list[int]]:
    lists = [list(one) for one in groups if one]
    return sorted(lists, key=lambda one: (-len(one), one[:1]))


def _without_loops(weights: Floats) -> Floats:
    np.fill_diagonal(weights, 0.0)
    return weights


def _mean(profiles: Floats, otherwise: Floats) -> Floats:
    return np.asarray(profiles.mean(0) if len(profiles) else otherwise, np.float64)
