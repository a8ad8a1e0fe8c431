"""A detector cut behind any of its nodes: what must be sent, and the same answer."""

from __future__ import annotations

import pytest
import torch

from splitnet.errors import ConfigError
from splitnet.nn.architectures import STRIDES, architecture_of
from splitnet.nn.graph import needed_after, nodes_of, run_front, run_rest
from splitnet.nn.yolox.network import SPLIT_POINTS, YOLOX, features_at
from tests.support.tiny_student import CLASSES, make_teacher


@pytest.fixture(scope="module")
def detector() -> YOLOX:
    return make_teacher()


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return 255 * torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("cut", [*architecture_of("yolox-nano").cuts, "top", "middle", "p4"])
def test_front_and_rest_say_what_the_whole_detector_says(detector, image, cut):
    nodes = nodes_of(detector)
    with torch.inference_mode():
        features = run_front(nodes, cut, image)
        assert torch.equal(run_rest(nodes, cut, features), detector(image))
    assert {name: 64 // x.shape[2] for name, x in features.items()} == {name: STRIDES[name] for name in features}


@pytest.mark.parametrize(
    ("cut", "needed"),
    [
        ("stem", ("stem",)),
        ("dark2", ("dark2",)),
        ("dark3", ("dark3",)),
        ("dark4", ("dark3", "dark4")),
        ("dark5", ("dark3", "dark4", "dark5")),
        ("top", ("dark3", "dark4", "top")),
        ("middle", ("dark3", "top", "middle")),
        ("p3", ("top", "middle", "p3")),
        ("p5", ("p3", "p4", "p5")),
    ],
)
def test_what_the_rest_reads_must_be_sent(detector, cut, needed):
    assert needed_after(nodes_of(detector), cut) == needed


@pytest.mark.parametrize("split_point", SPLIT_POINTS)
def test_a_bundle_sends_the_same(detector, split_point):
    assert needed_after(nodes_of(detector), split_point) == features_at(split_point)


@pytest.mark.parametrize("cut", ["raw", "image", "dark9"])
def test_a_cut_that_there_is_not_is_refused(detector, cut):
    with pytest.raises(ConfigError, match="unknown cut"):
        needed_after(nodes_of(detector), cut)


def test_a_detector_without_its_front_cannot_be_studied():
    with pytest.raises(ConfigError, match="give the whole one"):
        nodes_of(YOLOX("yolox-nano", CLASSES, "dark3"))
