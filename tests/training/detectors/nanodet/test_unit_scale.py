"""A NanoDet-Plus with larger features says exactly what it said."""

from __future__ import annotations

import torch

from splitnet.nn.nanodet.network import NanoDet
from splitnet.nn.yolox.network import YOLOX
from tests.support.named_weights import named_weights
from training.detectors.nanodet.unit_scale import FACTOR, at_unit_scale


def small_features() -> NanoDet:
    detector = NanoDet("nanodet-plus-m", 2).eval()
    state = named_weights(detector.state_dict())
    for name in state:
        if name.startswith("backbone.") and name.endswith("bias"):
            state[name] *= 1e-3
    state["backbone.conv1.0.weight"] *= 1e-2
    detector.load_state_dict(state)
    return detector


def test_not_a_digit_of_the_predictions_changes():
    x = 255 * torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    detector = small_features()
    with torch.inference_mode():
        before = detector.trace({"image": x})
    assert at_unit_scale(detector) is detector
    with torch.inference_mode():
        after = detector.trace({"image": x})
    assert all(torch.equal(after[name], before[name]) for name in ("p3", "p6", "raw"))
    assert all(torch.equal(after[name], FACTOR * before[name]) for name in ("stage1", "stage2a", "stage4"))


def test_it_is_done_once_and_to_no_other_detector():
    detector = at_unit_scale(small_features())
    once = {name: value.clone() for name, value in detector.state_dict().items()}
    if at_unit_scale(detector).backbone({"image": torch.zeros(1, 3, 64, 64)})["stage2"].std() > 0.25:
        assert all(torch.equal(value, once[name]) for name, value in detector.state_dict().items())
    other = YOLOX("yolox-nano", 2)
    assert at_unit_scale(other) is other
