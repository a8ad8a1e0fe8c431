"""The EfficientDet family: published sizes, the public port's names and outputs, the same answer from any cut."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from splitnet.errors import ConfigError
from splitnet.nn.efficientdet.bifpn import cell_nodes
from splitnet.nn.efficientdet.efficientnet import STAGE_STRIDES, STAGES, normalised, rounded
from splitnet.nn.efficientdet.network import FAMILY, PYRAMID, SPLIT_POINTS, EfficientDet, features_at
from splitnet.nn.macs import count_macs, parameter_count
from tests.splitnet.nn.efficientdet.public_names import MEMBERS, digest, entries
from tests.support.named_weights import named_weights

PUBLISHED = {  # millions of parameters, billions of multiply-accumulates
    "efficientdet-d0": (3.9, 2.5),
    "efficientdet-d1": (6.6, 6.1),
    "efficientdet-d2": (8.1, 11.0),
}
PORT = json.loads(
    (Path(__file__).resolve().parents[3] / "data" / "efficientdet-port.json").read_text()
)  # made by the port itself
COCO_OUTPUTS = 90
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def small() -> EfficientDet:
    detector = EfficientDet("efficientdet-d0", 5, fused=False).eval()
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
        model = EfficientDet(name, COCO_OUTPUTS, fused=False)
        folded = EfficientDet(name, COCO_OUTPUTS).eval()
        image = torch.zeros(1, 3, size, size)
    assert parameter_count(model) / 1e6 == pytest.approx(parameters, rel=0.02)
    assert count_macs(folded, lambda: folded(image)) / 1e9 == pytest.approx(macs, rel=0.02)


@pytest.mark.parametrize("name", FAMILY)
def test_names_and_shapes_are_those_of_the_public_port(name):
    with torch.device("meta"):
        state = EfficientDet(name, COCO_OUTPUTS, fused=False).state_dict()
    ours = [(key, tuple(value.shape)) for key, value in state.items()]
    assert sorted(ours) == sorted(entries(name))
    assert digest(ours) == PORT["digests"][name]  # of the port's own list, in its order


def test_every_member_is_described():
    assert MEMBERS.keys() == FAMILY.keys() == PORT["digests"].keys() == PUBLISHED.keys()


@pytest.mark.parametrize("name", PORT["raw"])
def test_outputs_equal_those_of_the_public_port(name):
    expected = PORT["raw"][name]
    size = expected["input_size"]
    model = EfficientDet(name, 5, fused=False).eval()
    model.load_state_dict(named_weights(model.state_dict()))
    image = torch.from_numpy(255 * np.random.default_rng(7).random((1, 3, size, size), np.float32))
    with torch.inference_mode():
        raw = model(image)[0]
    assert len(raw) == expected["anchors"]
    rows = raw[[int(row) for row in expected["rows"]]]
    apart = (rows - torch.tensor(list(expected["rows"].values()))).abs().max() / expected["deviation"]
    assert float(apart) < TOLERANCE


def test_folding_keeps_the_function_and_loads_into_a_folded_network(small, image):
    folded = EfficientDet("efficientdet-d0", 5, fused=False).eval()
    folded.load_state_dict(small.state_dict())
    folded.fuse()
    again = EfficientDet("efficientdet-d0", 5).eval()
    again.load_state_dict(folded.state_dict())
    assert not any("bn" in key for key in again.state_dict())
    with torch.inference_mode():
        raw = small(image)
        apart = (again(image) - raw).abs().max() / raw.std()
    assert float(apart) < TOLERANCE
    again.fuse()
    assert again.state_dict().keys() == folded.state_dict().keys()


@pytest.mark.parametrize("split_point", SPLIT_POINTS)
def test_the_rest_goes_on_as_the_whole_does(small, image, split_point):
    rest = EfficientDet("efficientdet-d0", 5, split_point, fused=False).eval()
    theirs = small.state_dict()
    rest.load_state_dict({key: theirs[key] for key in rest.state_dict()})
    with torch.inference_mode():
        computed = small.trace({"image": image})
        features = {name: computed[name] for name in features_at(split_point)}
        assert torch.equal(rest.from_features(features), computed["raw"])


@pytest.mark.parametrize("split_point", SPLIT_POINTS)
def test_a_whole_detector_can_drop_its_front(split_point):
    with torch.device("meta"):
        whole = EfficientDet("efficientdet-d0", 5)
        whole.keep_from(split_point)
        assert list(whole.state_dict()) == list(EfficientDet("efficientdet-d0", 5, split_point).state_dict())


def test_stages_and_pyramid_have_their_strides(small, image):
    with torch.inference_mode():
        computed = small.trace({"image": image})
    assert {name: 128 // computed[name].shape[2] for name in STAGES} == STAGE_STRIDES
    assert [computed[name].shape[2] for name in PYRAMID] == [16, 8, 4, 2, 1]
    assert [computed[name].shape[1] for name in ("c2", "c3", "c4", "c5")] == [24, 40, 112, 320]


def test_a_picture_that_is_no_multiple_of_the_largest_stride_is_taken(small):
    with torch.inference_mode():
        computed = small.trace({"image": torch.zeros(1, 3, 96, 160)})
    assert [tuple(computed[name].shape[2:]) for name in PYRAMID] == [(12, 20), (6, 10), (3, 5), (2, 3), (1, 2)]
    assert computed["raw"].shape == (1, 9 * (240 + 60 + 15 + 6 + 2), 9)


def test_a_gradient_reaches_every_parameter():
    torch.manual_seed(0)
    model = EfficientDet("efficientdet-d0", 2, fused=False)
    model(255 * torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in model.parameters())


def test_pictures_are_normalised_as_published():
    white = torch.tensor([103.53, 116.28 + 57.12, 123.675 - 58.395]).reshape(1, 3, 1, 1)  # blue, green, red
    assert normalised(white).flatten().tolist() == pytest.approx([-1.0, 1.0, 0.0])


@pytest.mark.parametrize(
    ("channels", "expected"), [(35.2, 32), (44.0, 48), (123.2, 120), (211.2, 208), (3.0, 8), (17.6, 16)]
)
def test_channels_are_rounded_to_eights(channels, expected):
    assert rounded(channels) == expected


def test_the_nodes_of_a_cell_go_down_and_up():
    assert cell_nodes() == (
        (3, (3, 4)),
        (2, (2, 5)),
        (1, (1, 6)),
        (0, (0, 7)),
        (1, (1, 7, 8)),
        (2, (2, 6, 9)),
        (3, (3, 5, 10)),
        (4, (4, 11)),
    )


def test_a_weight_below_zero_counts_for_nothing():
    model = EfficientDet("efficientdet-d0", 1).eval()
    combine = model.get_submodule("fpn.cell.1.fnode.0.combine")
    tensors = [torch.full((1, 64, 2, 2), float(i)) for i in range(4)] + [torch.full((1, 64, 1, 1), 4.0)]
    with torch.inference_mode():
        combine.edge_weights.copy_(torch.tensor([-3.0, 2.0]))
        only_the_coarser = combine(tensors, 2, 2)
        combine.edge_weights.copy_(torch.tensor([1.0, 3.0]))
        mixed = combine(tensors, 2, 2)
    assert float(only_the_coarser.mean()) == pytest.approx(4.0, rel=1e-3)
    assert float(mixed.mean()) == pytest.approx((3 + 3 * 4) / 4, rel=1e-3)


def test_an_unknown_member_or_split_point_is_refused():
    with pytest.raises(ConfigError, match="choose one of efficientdet-d0"):
        EfficientDet("efficientdet-d9", 80)
    for stage in ("c1", "c5", "dark3"):
        with pytest.raises(ConfigError, match="choose one of c2, c3, c4"):
            EfficientDet("efficientdet-d0", 80, stage)
