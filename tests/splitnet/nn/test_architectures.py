"""Architectures by the name of a detector, and their raw predictions as detections."""

from __future__ import annotations

import math

import pytest
import torch

from splitnet.errors import ConfigError
from splitnet.nn.architectures import ARCHITECTURES, CUTS, INPUT_SIZES, SPLIT_POINTS, STRIDES, architecture_of
from splitnet.nn.efficientdet.anchors import anchor_boxes
from splitnet.nn.efficientdet.network import EfficientDet
from splitnet.nn.graph import needed_after, nodes_of, run_front, run_rest
from splitnet.nn.yolox.network import YOLOX
from tests.support.named_weights import named_weights

NAMES = ("yolox-nano", "efficientdet-d0")
CLASSES = 3
SIDE = 128


@pytest.fixture(scope="module")
def detector() -> EfficientDet:
    found = EfficientDet("efficientdet-d0", CLASSES).eval()
    found.load_state_dict(named_weights(found.state_dict()))
    return found


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return 255 * torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def test_every_detector_has_one_architecture_and_every_name_of_a_stage_one_stride():
    assert len(INPUT_SIZES) == sum(len(one.input_sizes) for one in ARCHITECTURES)
    assert (
        len(set(SPLIT_POINTS)) == len(SPLIT_POINTS)
        and set(SPLIT_POINTS) <= STRIDES.keys()
        and set(CUTS) <= STRIDES.keys()
    )
    assert all(one is architecture_of(name) for one in ARCHITECTURES for name in one.input_sizes)
    assert all(dict(STRIDES).items() >= dict(one.strides).items() for one in ARCHITECTURES)


def test_an_unknown_detector_is_refused_with_all_that_are_known():
    with pytest.raises(ConfigError, match=r"choose one of yolox-nano.*efficientdet-d2"):
        architecture_of("detr")


@pytest.mark.parametrize("name", NAMES)
def test_a_network_of_an_architecture_knows_its_name(name):
    with torch.device("meta"):
        network = architecture_of(name).build(name, CLASSES)
    assert network.name == name
    assert isinstance(network, (YOLOX, EfficientDet))


@pytest.mark.parametrize("name", NAMES)
def test_stages_one_after_the_other_give_the_features_of_the_whole(name):
    architecture = architecture_of(name)
    torch.manual_seed(0)
    whole = architecture.build(name, CLASSES).eval()
    split_point = architecture.split_points[-1]
    stages = architecture.stages_to(name, split_point).eval()
    for stage, module in stages.items():
        module.load_state_dict(architecture.stage_of(whole, stage).state_dict())
    x = 255 * torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        expected = whole.trace({"image": x})
        for stage, module in stages.items():
            x = module(x)
            assert torch.equal(x, expected[stage])
            assert x.shape[1:] == (architecture.channels(name, stage), *[64 // architecture.strides[stage]] * 2)
    assert stage == split_point


@pytest.mark.parametrize("cut", architecture_of("efficientdet-d0").cuts)
def test_front_and_rest_say_what_the_whole_detector_says(detector, image, cut):
    nodes = nodes_of(detector)
    with torch.inference_mode():
        assert torch.equal(run_rest(nodes, cut, run_front(nodes, cut, image)), detector(image))


@pytest.mark.parametrize("name", NAMES)
def test_a_bundle_sends_what_the_steps_need(name):
    architecture = architecture_of(name)
    with torch.device("meta"):
        nodes = nodes_of(architecture.build(name, CLASSES))
    for split_point in architecture.split_points:
        assert needed_after(nodes, split_point) == architecture.features_at(split_point)


@pytest.mark.parametrize("name", NAMES)
def test_a_detector_without_its_front_has_no_steps(name):
    architecture = architecture_of(name)
    with torch.device("meta"):
        rest = architecture.build(name, CLASSES, architecture.split_points[0])
    with pytest.raises(ConfigError, match="give the whole one"):
        nodes_of(rest)


def nothing(count: int = 1) -> torch.Tensor:
    """Return raw predictions of a 128-pixel square in which nothing is seen."""
    raw = torch.zeros(count, len(anchor_boxes(SIDE, torch.device("cpu"))), 4 + CLASSES)
    raw[..., 4:] = -10
    return raw


def logit(score: float) -> float:
    return math.log(score / (1 - score))


def found_in(raw: torch.Tensor, threshold: float = 0.25):
    return architecture_of("efficientdet-d0").detections(raw, SIDE, threshold)


def test_an_anchor_that_is_sure_becomes_a_box():
    raw = nothing(2)
    raw[1, 9, 4 + 2] = logit(0.9)  # the second cell, its smallest square anchor: 32 pixels around (12, 4)
    raw[1, 9, :4] = torch.tensor([0.125, 0.25, math.log(0.5), 0.0])  # 4 down, 8 right, half as high
    empty, found = found_in(raw)
    assert len(empty) == 0
    assert found.labels.tolist() == [2]
    assert found.scores.tolist() == pytest.approx([0.9])
    assert found.boxes[0].tolist() == pytest.approx([20 - 16, 8 - 8, 20 + 16, 8 + 8])


def test_a_lesser_box_of_the_class_is_suppressed_and_one_of_another_class_is_not():
    raw = nothing()
    raw[0, 100, 4:] = torch.tensor([logit(0.8), logit(0.6), -10])
    raw[0, 101, :4] = 0
    raw[0, 100 - 9, 4] = logit(0.7)  # the neighbouring cell, a box of the same size 8 pixels away
    (found,) = found_in(raw)
    assert found.labels.tolist() == [0, 1]
    assert found.scores.tolist() == pytest.approx([0.8, 0.6])


def test_what_is_below_the_threshold_is_not_found():
    raw = nothing()
    raw[0, 0, 4] = logit(0.24)
    assert len(found_in(raw)[0]) == 0
    assert len(found_in(raw, 0.2)[0]) == 1


def test_so_many_candidates_are_cut_to_the_best():
    raw = nothing()
    raw[0, :, 4:] = torch.linspace(-0.5, 3, raw.shape[1])[:, None]
    (found,) = found_in(raw, 0.01)
    assert 0 < len(found) <= 100
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert float(found.scores[0]) == pytest.approx(1 / (1 + math.exp(-3)))


@pytest.mark.parametrize("wild", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_left_out(wild):
    raw = nothing()
    raw[0, :20, 4] = logit(0.9)
    raw[0, :10, 0] = wild
    raw[0, 20:30] = math.nan
    (found,) = found_in(raw)
    assert 0 < len(found) <= 10
    assert math.isfinite(found.boxes.sum()) and math.isfinite(found.scores.sum())


def test_both_architectures_answer_through_the_same_call(image):
    for name in NAMES:
        architecture = architecture_of(name)
        torch.manual_seed(1)
        network = architecture.build(name, CLASSES).eval()
        with torch.inference_mode():
            found = architecture.detections(network(image), SIDE, 0.001)
        assert len(found) == 2
        assert all(one.boxes.shape == (len(one), 4) and set(one.labels) <= set(range(CLASSES)) for one in found)
