"""SimOTA against cases worked out by hand, and against a slow and plain twin."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from splitnet.nn.suppression import pairwise_iou
from splitnet.nn.yolox.boxes import anchor_grid, decode_boxes
from training.detectors.yolox.simota import CENTRE_RADIUS, MOST, OVERLAP_WEIGHT, assign, class_cost, dynamic_k, matched


def test_an_object_takes_as_many_anchors_as_overlap_it_well():
    overlaps = torch.tensor([[0.9, 0.8, 0.7, 0.1], [0.3, 0.2, 0.0, 0.0], [0.9, 0.9, 0.9, 0.9]])
    assert dynamic_k(overlaps).tolist() == [2, 1, 3]  # sums 2.5, 0.5 and 3.6, rounded down, at least one


def test_only_the_ten_best_overlaps_count():
    assert dynamic_k(torch.full((1, 40), 0.5)).tolist() == [MOST // 2]


def test_each_object_takes_its_cheapest_anchors():
    cost = torch.tensor([[5.0, 1.0, 3.0, 9.0], [9.0, 8.0, 7.0, 2.0]])
    assert matched(cost, torch.tensor([2, 1])).tolist() == [-1, 0, 0, 1]


def test_an_anchor_wanted_twice_goes_where_it_is_cheapest():
    cost = torch.tensor([[1.0, 4.0, 6.0], [2.0, 3.0, 7.0]])
    assert matched(cost, torch.tensor([2, 2])).tolist() == [0, 1, -1]


def test_an_anchor_is_not_given_to_an_object_that_did_not_want_it():
    cost = torch.tensor([[0.0, 1.0, 9.0], [5.0, 8.0, 6.0], [4.0, 9.0, 9.0]])
    # The first object is the cheapest for every anchor, but wants one only; the other two want anchor 0 as well.
    assert matched(cost, torch.tensor([1, 1, 1])).tolist() == [0, -1, -1]


def test_equal_costs_are_taken_in_order():
    assert matched(torch.zeros(1, 4), torch.tensor([2])).tolist() == [0, 0, -1, -1]


def test_the_cost_of_a_class_by_hand():
    # Objectness 0.5 and class probabilities 0.5 and 0.8: their roots of products are 0.5 and sqrt(0.4).
    cost = class_cost(torch.zeros(1), torch.tensor([[0.0, math.log(4)]]), torch.tensor([0, 1]))
    p, q = 0.5, math.sqrt(0.4)
    assert cost[:, 0].tolist() == pytest.approx([-math.log(p) - math.log(1 - q), -math.log(q) - math.log(1 - p)])


def test_the_cost_of_a_class_is_the_cross_entropy_summed_over_all():
    generator = torch.Generator().manual_seed(0)
    objectness, classes = torch.randn(7, generator=generator), 3 * torch.randn(7, 5, generator=generator)
    labels = torch.tensor([4, 0, 0])
    p = (objectness.sigmoid()[:, None] * classes.sigmoid()).sqrt()
    for row, label in zip(class_cost(objectness, classes, labels), labels, strict=True):
        target = F.one_hot(label, 5).float().expand(7, 5)
        torch.testing.assert_close(row, F.binary_cross_entropy(p, target, reduction="none").sum(dim=1))


def test_the_surest_predictions_have_a_finite_cost():
    extreme = torch.tensor([100.0, -100.0, 1000.0, -1000.0])
    cost = class_cost(extreme, extreme[:, None], torch.tensor([0]))
    assert cost[0].tolist() == [0.0, 100.0, 0.0, 100.0]
    assert torch.isfinite(class_cost(extreme, extreme[:, None].expand(4, 3), torch.tensor([2]))).all()


def slowly(boxes: Tensor, objectness: Tensor, classes: Tensor, centres: Tensor, strides: Tensor, truth: Tensor, labels):
    """Return {anchor: object} by loops over everything, from the paper's words."""
    costs: dict[tuple[int, int], float] = {}
    overlaps = pairwise_iou(truth, boxes)
    candidates = set()
    for g, (left, top, right, bottom) in enumerate(truth.tolist()):
        for a, (x, y) in enumerate(centres.tolist()):
            reach = CENTRE_RADIUS * strides[a].item()
            inside = left < x < right and top < y < bottom
            near = abs(x - (left + right) / 2) < reach and abs(y - (top + bottom) / 2) < reach
            if inside or near:
                candidates.add(a)
            p = (objectness[a].sigmoid() * classes[a].sigmoid()).sqrt()
            wrong = F.binary_cross_entropy(p, F.one_hot(labels[g], len(p)).float(), reduction="sum").item()
            poor = -math.log(overlaps[g, a].item() + 1e-8)
            costs[g, a] = wrong + OVERLAP_WEIGHT * poor + (0.0 if inside and near else 1e5)
    wanted: dict[int, list[int]] = {}
    for g in range(len(truth)):
        best = sorted((overlaps[g, a].item() for a in candidates), reverse=True)[:MOST]
        cheapest = sorted(candidates, key=lambda a: costs[g, a])[: max(1, int(sum(best)))]
        for a in cheapest:
            wanted.setdefault(a, []).append(g)
    return {a: min(objects, key=lambda g: costs[g, a]) for a, objects in wanted.items()}


@pytest.mark.parametrize("seed", range(8))
def test_assignments_are_those_of_the_plain_twin(seed):
    generator = torch.Generator().manual_seed(seed)
    square, count = 64, int(torch.randint(1, 6, (1,), generator=generator))
    corners, strides = anchor_grid(square, torch.device("cpu"))
    raw = 0.5 * torch.randn(len(corners), 4, generator=generator)
    logits = torch.randn(len(corners), 1 + 3, generator=generator)
    middle = torch.rand(count, 2, generator=generator) * square
    half = torch.rand(count, 2, generator=generator) * 20 + 2
    truth = torch.cat((middle - half, middle + half), dim=1).clamp(0, square)
    labels = torch.randint(0, 3, (count,), generator=generator)
    boxes = decode_boxes(raw[None], square)[0]
    predicted = (boxes, logits[:, 0], logits[:, 1:], (corners + 0.5) * strides, strides, truth, labels)
    found = assign(*predicted)
    assert dict(zip(found.anchors.tolist(), found.objects.tolist(), strict=True)) == slowly(*predicted)
    torch.testing.assert_close(found.overlaps, pairwise_iou(truth, boxes)[found.objects, found.anchors])


def one_level(square: int = 64, stride: int = 8) -> tuple[Tensor, Tensor]:
    """Return centres (A, 2) and strides (A, 1) of one level of cells."""
    cells = torch.arange(square // stride, dtype=torch.float32)
    y, x = torch.meshgrid(cells, cells, indexing="ij")
    centres = (torch.stack((x.flatten(), y.flatten()), dim=1) + 0.5) * stride
    return centres, torch.full((len(centres), 1), float(stride))


def test_a_perfect_anchor_is_chosen_among_all():
    centres, strides = one_level()
    truth = torch.tensor([[16.0, 16.0, 48.0, 48.0]])
    boxes = torch.cat((centres - 4, centres + 4), dim=1)
    boxes[27] = truth[0]  # the cell whose centre is (28, 28)
    quiet = torch.full((64,), -3.0)
    found = assign(boxes, quiet, quiet[:, None], centres, strides, truth, torch.tensor([0]))
    # Overlaps: 1, and 1/16 for each of the cells inside: the ten best sum up to 1.56.
    assert found.anchors.tolist() == [27]
    assert found.objects.tolist() == [0]
    assert found.overlaps.tolist() == pytest.approx([1.0])


def test_an_object_smaller_than_a_cell_still_gets_an_anchor():
    centres, strides = one_level()
    truth = torch.tensor([[0.0, 0.0, 1.0, 1.0], [62.5, 62.5, 64.0, 64.0]])
    boxes = torch.cat((centres - 4, centres + 4), dim=1)
    quiet = torch.zeros(64)
    found = assign(boxes, quiet, quiet[:, None], centres, strides, truth, torch.tensor([0, 0]))
    assert dict(zip(found.anchors.tolist(), found.objects.tolist(), strict=True)) == {0: 0, 63: 1}


def test_a_surer_class_wins_between_equal_boxes():
    centres, strides = one_level()
    truth = torch.tensor([[16.0, 16.0, 48.0, 48.0]])
    boxes = truth.expand(64, 4).clone()
    boxes[:, 2:] -= 25  # of all the overlap is 49/1024, so that one anchor only is taken
    classes = torch.zeros(64, 2)
    classes[36, 1] = 3.0
    found = assign(boxes, torch.zeros(64), classes, centres, strides, truth, torch.tensor([1]))
    assert found.anchors.tolist() == [36]


def test_a_image_without_objects_has_no_positive_anchor():
    centres, strides = one_level()
    found = assign(
        torch.zeros(64, 4),
        torch.zeros(64),
        torch.zeros(64, 2),
        centres,
        strides,
        torch.zeros(0, 4),
        torch.zeros(0).long(),
    )
    assert [len(found.anchors), len(found.objects), len(found.overlaps)] == [0, 0, 0]
