"""What the tail says of a merge: against the formulas on whole arrays, and what it must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splitnet.detections import Detections
from training.evaluation.average_precision import accuracy_against
from training.sharing.agreement import FeatureAgreement, ScoreAgreement
from training.sharing.judge import tail_agreement

GENERATOR = torch.Generator().manual_seed(11)


def scores(images: int = 2) -> torch.Tensor:
    return torch.rand(images, 30, 3, generator=GENERATOR).square()


def agreement(own: torch.Tensor, merged: torch.Tensor, size: int = 2) -> float:
    found = ScoreAgreement()
    for i in range(0, len(own), size):
        found.add(own[i : i + size], merged[i : i + size])
    return found.explained


def test_the_same_scores_explain_everything_and_the_mean_of_a_class_nothing():
    own = scores()
    assert agreement(own, own) == pytest.approx(1.0, abs=1e-6)
    mean = own.flatten(0, 1).mean(dim=0).expand_as(own)
    assert agreement(own, mean) == pytest.approx(0.0, abs=1e-6)
    assert agreement(own, 1 - own) < 0


def test_scores_explained_are_one_less_the_ratio_of_divergences():
    own, merged = scores(), scores()

    def divergence(q: torch.Tensor) -> float:
        p, q = own.double(), q.double().clamp(1e-6, 1 - 1e-6)
        first = torch.special.xlogy(p, p) + torch.special.xlogy(1 - p, 1 - p)
        return float((first - torch.xlogy(p, q) - torch.xlogy(1 - p, 1 - q)).sum())

    mean = own.flatten(0, 1).mean(dim=0).expand_as(own)
    assert agreement(own, merged) == pytest.approx(1 - divergence(merged) / divergence(mean), rel=1e-4)


def test_what_is_said_of_scores_does_not_depend_on_how_images_come():
    own, merged = scores(6), scores(6)
    assert agreement(own, merged, 1) == pytest.approx(agreement(own, merged, 6), rel=1e-9)


def test_nothing_seen_and_scores_that_never_change_explain_nothing():
    assert ScoreAgreement().explained == 0.0
    flat = torch.full((1, 30, 3), 0.5)
    assert agreement(flat, scores(1)) == 0.0


def test_features_are_explained_as_far_as_their_variance_is():
    y, noise = (torch.randn(2, 4, 20, 20, generator=GENERATOR) for _ in range(2))
    found = FeatureAgreement()
    found.add({"a": y}, {"a": y + 0.5 * noise}, ["a"])
    assert found.r2 == pytest.approx(0.75, abs=0.03)
    assert FeatureAgreement().r2 == 0.0


def test_boxes_of_another_detector_can_be_the_truth():
    boxes = np.array([[0, 0, 50, 50], [10, 20, 90, 80]], np.float32)
    own = [Detections(boxes, np.array([0.9, 0.8], np.float32), np.array([3, 7], np.int32)), Detections.empty()]
    one = [Detections(boxes[:1], np.array([0.9], np.float32), np.array([3], np.int32)), Detections.empty()]
    assert [accuracy_against(own, found).ap for found in (own, one, [Detections.empty()] * 2)] == [100.0, 50.0, 0.0]
    assert accuracy_against([Detections.empty()], one[:1]).ap == 100.0


def test_the_agreement_of_tails_is_the_mean_of_boxes_and_scores():
    assert tail_agreement(0.9, 0.7) == pytest.approx(0.8)
