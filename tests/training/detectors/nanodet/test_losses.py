"""Dynamic soft labels and NanoDet-Plus's losses, on cases worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from splitnet.nn.nanodet.boxes import point_grid
from training.detectors.nanodet.assignment import assign_softly, matched_softly, soft_class_cost
from training.detectors.nanodet.losses import (
    BOX_WEIGHT,
    DISTRIBUTION_WEIGHT,
    distribution_focal_loss,
    giou_loss,
    nanodet_losses,
    quality_focal_loss,
)

SQUARE, CLASSES = 64, 3
CPU = torch.device("cpu")
POINTS, STRIDES = point_grid(SQUARE, CPU)
CERTAIN = 20.0


def test_only_points_inside_an_object_are_taken():
    truth = torch.tensor([[4.0, 4, 20, 20]])  # the points (8, 8), (8, 16), (16, 8), (16, 16) at strides 8 and 16
    boxes = truth.expand(len(POINTS), 4)
    found = assign_softly(boxes, torch.zeros(len(POINTS), CLASSES), POINTS, truth, torch.tensor([1]))
    assert sorted(found.anchors.tolist()) == [9, 10, 17, 18, 64 + 5]
    assert found.overlaps.tolist() == pytest.approx([1.0] * 5)
    assert set(found.objects.tolist()) == {0}


@pytest.mark.parametrize("truth", [torch.zeros(0, 4), torch.tensor([[1.0, 1, 3, 3]])])
def test_an_object_without_a_point_inside_is_nobodys(truth):
    boxes, labels = torch.zeros(len(POINTS), 4), torch.zeros(len(truth), dtype=torch.int64)
    assert len(assign_softly(boxes, torch.zeros(len(POINTS), CLASSES), POINTS, truth, labels).anchors) == 0


def test_the_cost_of_classes_is_that_of_the_whole_cross_entropy():
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(6, CLASSES, generator=generator), torch.tensor([2, 0])
    overlaps = torch.rand(2, 6, generator=generator)
    soft = F.one_hot(labels, CLASSES)[:, None] * overlaps[..., None]
    scores = logits.sigmoid().expand(2, 6, CLASSES)
    expected = F.binary_cross_entropy(scores, soft, reduction="none") * (soft - scores) ** 2
    torch.testing.assert_close(soft_class_cost(logits, labels, overlaps), expected.sum(dim=2))


def test_a_point_that_two_objects_take_goes_to_the_cheaper_one():
    overlaps = torch.tensor([[0.9, 0.8, 0.1], [0.6, 0.2, 0.1]])  # so the first takes one point, the second none: one
    cost = torch.tensor([[1.0, 2.0, 9.0], [0.5, 3.0, 9.0]])
    assert matched_softly(cost, overlaps).tolist() == [1, -1, -1]
    assert matched_softly(torch.tensor([[1.0, 2.0, 9.0], [4.0, 3.0, 9.0]]), overlaps).tolist() == [0, 1, -1]


def test_quality_focal_loss_is_as_by_hand():
    p, quality = 0.8, 0.6
    logit = math.log(p / (1 - p))
    right = -(quality * math.log(p) + (1 - quality) * math.log(1 - p)) * 0.2**2
    wrong = -math.log(1 - p) * p**2
    found = quality_focal_loss(torch.tensor([[logit, logit]]), torch.tensor([[quality, 0.0]]))
    assert float(found) == pytest.approx(right + wrong, rel=1e-5)


def test_a_distance_lies_between_two_bins():
    logits = torch.zeros(1, 32)
    logits[0, 2], logits[0, 3] = CERTAIN, CERTAIN  # of the first side
    found = distribution_focal_loss(logits, torch.tensor([[2.25, 0.0, -3.0, 99.0]]))
    assert found[0].tolist() == pytest.approx([math.log(2), math.log(8), math.log(8), math.log(8)], rel=1e-4)


def test_boxes_that_do_not_touch_are_told_how_far_apart_they_are():
    boxes = torch.tensor([[0.0, 0, 10, 10]] * 3)
    truth = torch.tensor([[0.0, 0, 10, 10], [10, 0, 20, 10], [20, 0, 30, 10]])
    assert giou_loss(boxes, truth).tolist() == pytest.approx([0.0, 1.0, 1 + 1 / 3], abs=1e-5)


def silent() -> torch.Tensor:
    raw = torch.zeros(1, len(POINTS), CLASSES + 32)
    raw[..., :CLASSES] = -CERTAIN
    return raw


def test_a_picture_without_objects_costs_what_is_seen_in_it():
    nothing = [torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.int64)]
    losses = nanodet_losses(silent(), *nothing, SQUARE)
    assert sum(float(loss) for loss in losses.values()) == pytest.approx(0.0, abs=1e-6)
    raw = silent()
    raw[0, 0, 0] = CERTAIN
    assert float(nanodet_losses(raw, *nothing, SQUARE)["class"]) == pytest.approx(CERTAIN, rel=1e-3)


def test_a_perfect_answer_costs_next_to_nothing_and_a_gradient_flows_from_any_other():
    raw = silent()
    row = 64 + 5  # at (16, 16), stride 16
    raw[0, row, 2] = CERTAIN
    raw[0, row, CERTAIN_BINS] = CERTAIN
    truth, labels = [torch.tensor([[0.0, 0, 32, 32]])], [torch.tensor([2])]
    losses = nanodet_losses(raw, truth, labels, SQUARE)
    assert float(losses["positives"]) >= 1
    raw.requires_grad_()
    nanodet_losses(raw, truth, labels, SQUARE)["box"].backward()
    assert raw.grad is not None and bool(torch.isfinite(raw.grad).all())
    assert (BOX_WEIGHT, DISTRIBUTION_WEIGHT) == (2.0, 0.25)


CERTAIN_BINS = [CLASSES + 8 * side + 1 for side in range(4)]  # every side one stride away


def test_the_auxiliary_head_decides_and_learns_too():
    own, auxiliary = silent(), silent()
    auxiliary[0, 64 + 5, 2] = CERTAIN
    auxiliary[0, 64 + 5, CERTAIN_BINS] = CERTAIN
    truth, labels = [torch.tensor([[0.0, 0, 32, 32]])], [torch.tensor([2])]
    losses = nanodet_losses(torch.cat((own, auxiliary), dim=1), truth, labels, SQUARE)
    assert float(losses["aux_class"]) < float(losses["class"])
    assert float(losses["aux_box"]) < float(losses["box"])
