"""The NanoDet-Plus family: published sizes, the public project's names, the same answer from any cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splitnet.errors import ConfigError
from splitnet.nn.macs import count_macs, parameter_count
from splitnet.nn.nanodet.boxes import decode_boxes, distances, level_sides, point_grid
from splitnet.nn.nanodet.network import FAMILY, PYRAMID, SPLIT_POINTS, NanoDet, features_at
from splitnet.nn.nanodet.shufflenet import PIXEL_DEVIATION, PIXEL_MEAN, STAGE_STRIDES, STAGES, interleaved
from splitnet.nn.normalise import Normalise
from tests.splitnet.nn.nanodet.nanodet_names import MEMBERS, auxiliary_entries, entries
from tests.support.named_weights import named_weights
from training.detectors.nanodet.auxiliary import PARTS, TrainedNanoDet

# As published, without normalisation: millions of parameters, millions of multiply-accumulates.
PUBLISHED = {"nanodet-plus-m": (1.17, 760), "nanodet-plus-m-1.5x": (2.44, 1486)}
NAME, CLASSES = "nanodet-plus-m", 5
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def small() -> NanoDet:
    detector = NanoDet(NAME, CLASSES, fused=False).eval()
    detector.load_state_dict(named_weights(detector.state_dict()))
    return detector


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.from_numpy(255 * np.random.default_rng(7).random((1, 3, 128, 128), np.float32))


@pytest.mark.parametrize("name", FAMILY)
def test_sizes_are_the_published_ones(name):
    parameters, macs = PUBLISHED[name]
    size = FAMILY[name].input_size
    with torch.device("meta"):
        model = NanoDet(name, 80).eval()
        image = torch.zeros(1, 3, size, size)
    assert parameter_count(model) / 1e6 == pytest.approx(parameters, rel=0.02)
    assert count_macs(model, lambda: model(image)) / 1e6 == pytest.approx(macs, rel=0.02)


@pytest.mark.parametrize("name", FAMILY)
def test_names_and_shapes_are_those_of_the_public_project(name):
    with torch.device("meta"):
        state = NanoDet(name, 80, fused=False).state_dict()
        trained = TrainedNanoDet(name, 80).state_dict()
    assert sorted((key, tuple(value.shape)) for key, value in state.items()) == sorted(entries(name))
    beside = [(key, tuple(value.shape)) for key, value in trained.items() if key.startswith(PARTS)]
    assert sorted(beside) == sorted(auxiliary_entries(name))
    assert trained.keys() - dict(beside).keys() == state.keys()


def test_every_member_is_described():
    assert MEMBERS.keys() == FAMILY.keys() == PUBLISHED.keys()


def test_folding_keeps_the_function_and_loads_into_a_folded_network(small, image):
    folded = NanoDet(NAME, CLASSES, fused=False).eval()
    folded.load_state_dict(small.state_dict())
    folded.fuse()
    again = NanoDet(NAME, CLASSES).eval()
    again.load_state_dict(folded.state_dict())
    with torch.inference_mode():
        raw = small(image)
        apart = (again(image) - raw).abs().max() / raw.std()
    assert float(apart) < TOLERANCE
    again.fuse()
    assert again.state_dict().keys() == folded.state_dict().keys()


@pytest.mark.parametrize("split_point", SPLIT_POINTS)
def test_the_rest_goes_on_as_the_whole_does(small, image, split_point):
    rest = NanoDet(NAME, CLASSES, split_point, fused=False).eval()
    theirs = small.state_dict()
    rest.load_state_dict({key: theirs[key] for key in rest.state_dict()})
    with torch.inference_mode():
        computed = small.trace({"image": image})
        features = {name: computed[name] for name in features_at(split_point)}
        assert torch.equal(rest.from_features(features), computed["raw"])
        ahead = rest.next_stage(features)
    assert "stage3" in ahead and "stage4" not in ahead
    assert all(torch.equal(value, computed[name]) for name, value in ahead.items())


@pytest.mark.parametrize("split_point", SPLIT_POINTS)
def test_a_whole_detector_can_drop_its_front(split_point):
    with torch.device("meta"):
        whole = NanoDet(NAME, CLASSES)
        whole.keep_from(split_point)
        assert list(whole.state_dict()) == list(NanoDet(NAME, CLASSES, split_point).state_dict())


def test_stages_and_pyramid_have_their_strides(small, image):
    with torch.inference_mode():
        computed = small.trace({"image": image})
    assert {name: 128 // computed[name].shape[2] for name in STAGES} == STAGE_STRIDES
    assert [computed[name].shape[2] for name in PYRAMID] == [16, 8, 4, 2]
    assert [computed[name].shape[1] for name in STAGES] == [24, 116, 116, 232, 464]


def test_a_square_that_is_no_multiple_of_the_largest_stride_is_taken(small):
    with torch.inference_mode():
        raw = small(torch.zeros(1, 3, 96, 96))
    assert level_sides(96) == (12, 6, 3, 2)
    assert raw.shape == (1, 144 + 36 + 9 + 4, CLASSES + 32)
    assert len(point_grid(96, torch.device("cpu"))[0]) == raw.shape[1]


def test_one_tensor_is_sent_up_to_the_second_stage():
    assert [features_at(s) for s in SPLIT_POINTS] == [("stage1",), ("stage2a",), ("stage2",), ("stage2", "stage3")]


def test_a_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    model = NanoDet(NAME, 2, fused=False)
    model(255 * torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in model.parameters())


def test_pictures_are_normalised_as_published():
    pixel = torch.tensor([103.53, 116.28 + 57.12, 123.675 - 58.395]).reshape(1, 3, 1, 1)  # blue, green, red
    assert Normalise(PIXEL_MEAN, PIXEL_DEVIATION)(pixel).flatten().tolist() == pytest.approx([0.0, 1.0, -1.0], abs=1e-5)


def test_channels_interleave():
    a, b = (torch.tensor(values).reshape(1, 3, 1, 1) for values in ([1.0, 2, 3], [4.0, 5, 6]))
    assert interleaved(a, b).flatten().tolist() == [1, 4, 2, 5, 3, 6]


def test_a_distance_is_the_mean_of_its_distribution():
    logits = torch.full((1, 32), -30.0)
    for side, bins in enumerate(((0,), (7,), (2, 3), range(8))):
        for one in bins:
            logits[0, 8 * side + one] = 0.0
    assert distances(logits)[0].tolist() == pytest.approx([0.0, 7.0, 2.5, 3.5], abs=1e-6)
    boxes = decode_boxes(logits, torch.tensor([[80.0, 160.0]]), torch.tensor([[16.0]]))
    assert boxes[0].tolist() == pytest.approx([80.0, 160 - 7 * 16, 80 + 2.5 * 16, 160 + 3.5 * 16])


def test_an_unknown_member_or_split_point_is_refused():
    with pytest.raises(ConfigError, match="choose one of nanodet-plus-m"):
        NanoDet("nanodet-plus-x", 80)
    for stage in ("stage4", "dark3"):
        with pytest.raises(ConfigError, match="choose one of stage1, stage2a, stage2, stage3"):
            NanoDet(NAME, 80, stage)
