"""Suppression against its definition written out in loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from splitnet.nn.suppression import non_maximum_suppression, pairwise_iou

CLASSES = 3


def greedy_suppression(boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor, threshold: float) -> list[int]:
    """Suppress as the textbook does: best first, one by one."""
    kept: list[int] = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        same_class = [j for j in kept if labels[j] == labels[i]]
        if all(pairwise_iou(boxes[i : i + 1], boxes[j : j + 1])[0, 0] <= threshold for j in same_class):
            kept.append(i)
    return kept


def random_boxes(seed: int, n: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(n, 2, generator=generator) * 60
    return torch.cat((corners, corners + 1 + torch.rand(n, 2, generator=generator) * 30), dim=1)


@settings(max_examples=60)
@given(seed=st.integers(0, 10_000), n=st.integers(0, 60), threshold=st.sampled_from([0.1, 0.45, 0.65, 0.9]))
def test_suppression_equals_the_greedy_definition(seed: int, n: int, threshold: float) -> None:
    boxes = random_boxes(seed, n)
    generator = torch.Generator().manual_seed(seed + 1)
    scores = torch.randint(0, 20, (n,), generator=generator) / 20.0  # many ties
    labels = torch.randint(0, CLASSES, (n,), generator=generator)
    kept = non_maximum_suppression(boxes, scores, labels, threshold).tolist()
    assert kept == greedy_suppression(boxes, scores, labels, threshold)


def test_a_suppressed_box_suppresses_nobody() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]])  # a chain: each overlaps the next
    kept = non_maximum_suppression(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3), 0.3)
    assert kept.tolist() == [0, 2]


def test_classes_do_not_suppress_each_other() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]])
    kept = non_maximum_suppression(boxes, torch.tensor([0.5, 0.6]), torch.tensor([0, 1]), 0.5)
    assert kept.tolist() == [1, 0]


def test_iou_of_known_boxes() -> None:
    a = torch.tensor([[0.0, 0, 2, 2]])
    b = torch.tensor([[1.0, 1, 3, 3], [0, 0, 2, 2], [5, 5, 6, 6], [1, 1, 1, 1]])
    assert pairwise_iou(a, b)[0].tolist() == pytest.approx([1 / 7, 1.0, 0.0, 0.0])
