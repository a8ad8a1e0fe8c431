"""Matching of anchors and EfficientDet's losses, on cases worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from splitnet.nn.efficientdet.anchors import anchor_boxes, corners_of, encode_boxes
from training.detectors.efficientdet.losses import (
    ALPHA,
    BOX_WEIGHT,
    GAMMA,
    HUBER_DELTA,
    efficientdet_losses,
    focal_loss,
    match_anchors,
)

SQUARE, CLASSES = 128, 3
CPU = torch.device("cpu")
CORNERS = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30], [21, 20, 31, 30], [50, 50, 52, 52]])


def test_an_anchor_takes_the_object_that_it_overlaps_enough():
    truth = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    assert match_anchors(CORNERS, truth).tolist() == [0, 0, 1, 1, -1]  # overlaps 1, 0.5, 1, 9/11


def test_an_object_that_no_anchor_fits_still_has_its_best_one():
    truth = torch.tensor([[48.0, 48, 60, 60], [0, 0, 10, 10]])
    assert match_anchors(CORNERS, truth).tolist() == [1, 1, -1, -1, 0]


def test_without_objects_no_anchor_is_matched():
    assert match_anchors(CORNERS, torch.zeros(0, 4)).tolist() == [-1] * 5


def test_focal_loss_is_as_by_hand():
    p = 0.8
    logits = torch.tensor([[math.log(p / (1 - p))] * 2])
    right = -ALPHA * (1 - p) ** GAMMA * math.log(p)
    wrong = -(1 - ALPHA) * p**GAMMA * math.log(1 - p)
    assert float(focal_loss(logits, torch.tensor([[1.0, 0.0]]))) == pytest.approx(right + wrong, rel=1e-5)


def test_what_is_right_counts_next_to_nothing():
    assert float(focal_loss(torch.full((9, 9), -8.0), torch.zeros(9, 9))) < 1e-5


def perfect(boxes: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return raw predictions that are right for one image, and which object each anchor is to find."""
    anchors = anchor_boxes(SQUARE, CPU)
    raw = torch.zeros(1, len(anchors), 4 + CLASSES)
    raw[..., 4:] = -20
    found = match_anchors(corners_of(anchors), boxes)
    positive = found >= 0
    raw[0, positive, :4] = encode_boxes(boxes[found[positive]], anchors[positive])
    raw[0, positive.nonzero().flatten(), 4 + labels[found[positive]]] = 20
    return raw, found


BOXES = torch.tensor([[10.0, 10, 60, 60], [70, 30, 120, 110]])
LABELS = torch.tensor([2, 0])


def test_perfect_predictions_cost_nothing():
    raw, found = perfect(BOXES, LABELS)
    losses = efficientdet_losses(raw, [BOXES], [LABELS], SQUARE)
    assert losses.keys() == {"class", "box", "positives"}
    assert float(losses["class"]) < 1e-6 and float(losses["box"]) < 1e-6
    assert int(losses["positives"]) == int((found >= 0).sum()) >= 2


def test_a_box_that_is_off_costs_as_hubers_loss_says():
    raw, found = perfect(BOXES, LABELS)
    count = int((found >= 0).sum())
    raw[0, int((found >= 0).nonzero()[0]), 0] += 0.5
    huber = HUBER_DELTA * (0.5 - HUBER_DELTA / 2)
    losses = efficientdet_losses(raw, [BOXES], [LABELS], SQUARE)
    assert float(losses["box"]) == pytest.approx(BOX_WEIGHT * huber / (4 * (count + 1)), rel=1e-4)


def test_a_image_without_objects_teaches_what_nothing_looks_like():
    raw = torch.zeros(2, len(anchor_boxes(SQUARE, CPU)), 4 + CLASSES, requires_grad=True)
    nothing = [torch.zeros(0, 4)] * 2, [torch.zeros(0, dtype=torch.int64)] * 2
    losses = efficientdet_losses(raw, *nothing, SQUARE)
    (losses["class"] + losses["box"]).backward()
    assert float(losses["box"].detach()) == 0 and float(losses["positives"]) == 0
    assert bool((raw.grad[..., 4:] > 0).all()) and not raw.grad[..., :4].any()
