"""The training-free encoder: its shapes, its place in a manifest, and what is refused."""

from __future__ import annotations

import pytest
import torch

from splitnet.errors import ConfigError
from splitnet.nn.encoder.ensemble import PlainEncoder
from splitnet.nn.encoder.projection import (
    SILU_MIN,
    BackProjection,
    Patch,
    Projection,
    ProjectionEncoder,
    ProjectionSpec,
)
from splitnet.nn.yolox.network import YOLOX
from tests.support.tiny_bundle import DECODER, ENCODER

DARK4 = ProjectionSpec({"dark3": 5, "dark4": 7})


def test_a_tensor_of_a_finer_stride_lies_in_patches_beside_a_flag():
    assert ProjectionSpec({"dark2": 3}).latent_channels == 3 * 16 + 1
    assert ProjectionSpec({"dark3": 5}).latent_channels == 5 * 4 + 1
    assert DARK4.latent_channels == 5 * 4 + 1 + 7 + 1
    assert DARK4.patches("yolox-nano", "dark4") == {"dark3": Patch(64, 5, 2), "dark4": Patch(128, 7, 1)}


def test_the_latent_has_its_tensors_in_the_order_of_the_stages():
    spec = ProjectionSpec({"dark4": 7, "dark3": 5})
    assert list(spec.patches("yolox-nano", "dark4")) == ["dark3", "dark4"]


def test_the_front_runs_the_detectors_own_stages():
    torch.manual_seed(0)
    detector = YOLOX("yolox-nano", 3).eval()
    encoder = ProjectionEncoder(DARK4, "yolox-nano", "dark4")
    for name, stage in encoder.stages.items():
        stage.load_state_dict(getattr(detector.backbone.backbone, name).state_dict())
    image = 255 * torch.rand(1, 3, 48, 64)
    with torch.inference_mode():
        latent = encoder(image)
        dark3 = detector.backbone.backbone.dark3(
            detector.backbone.backbone.dark2(detector.backbone.backbone.stem(image))
        )
        dark4 = detector.backbone.backbone.dark4(dark3)
        assert torch.equal(latent, encoder.projection({"dark3": dark3, "dark4": dark4}))
    assert latent.shape == (1, DARK4.latent_channels, 3, 4)


def test_the_way_back_gives_every_tensor_its_own_shape_and_nothing_that_silu_cannot_say():
    patches = DARK4.patches("yolox-nano", "dark4")
    back = BackProjection(patches)
    with torch.inference_mode():
        features = back(1e3 * torch.randn(1, DARK4.latent_channels, 3, 4))
    assert {name: tuple(x.shape) for name, x in features.items()} == {"dark3": (1, 64, 6, 8), "dark4": (1, 128, 3, 4)}
    assert min(float(x.min()) for x in features.values()) == pytest.approx(SILU_MIN)


def test_silu_says_nothing_below():
    x = torch.linspace(-3, 0, 30_001, dtype=torch.float64)
    assert float(torch.nn.functional.silu(x).min()) == pytest.approx(SILU_MIN, abs=1e-7)


def test_projection_and_back_projection_have_the_same_weights_shape():
    patches = DARK4.patches("yolox-nano", "dark4")
    there, back = Projection(patches).state_dict(), BackProjection(patches).state_dict()
    assert {k: v.shape for k, v in there.items() if "weight" in k} == {
        k: v.shape for k, v in back.items() if "weight" in k
    }


@pytest.mark.parametrize(
    ("components", "message"),
    [
        ({}, "nothing cannot be projected"),
        ({"dark5": 3}, "dark5 cannot be projected"),
        ({"dark3": 0}, "0 components of dark3, must be 1..1024"),
        ({"dark3": 1025}, "1025 components"),
        ({"dark2": 600}, "9601 latent channels, at most 8192"),
    ],
)
def test_a_spec_that_no_detector_has_is_refused(components, message):
    with pytest.raises(ConfigError, match=message):
        ProjectionSpec(components)


@pytest.mark.parametrize(
    ("components", "split_point", "message"),
    [
        ({"dark3": 4}, "dark4", "needs the components of dark3, dark4"),
        ({"dark3": 4, "dark4": 4}, "dark3", "needs the components of dark3"),
        ({"dark3": 65}, "dark3", "65 components of dark3, which has 64"),
        ({"dark3": 4}, "dark9", "unknown split point"),
    ],
)
def test_components_that_do_not_fit_the_split_point_are_refused(components, split_point, message):
    with pytest.raises(ConfigError, match=message):
        ProjectionSpec(components).patches("yolox-nano", split_point)


def test_there_is_one_width():
    encoder = ProjectionEncoder(ProjectionSpec({"dark3": 4}), "yolox-nano", "dark3")
    assert encoder.narrow(1) is encoder
    assert encoder.spec.widths == 1
    with pytest.raises(ConfigError, match="width 2"):
        encoder.narrow(2)


def test_each_kind_of_spec_makes_its_own_encoder_and_decoder():
    assert isinstance(DARK4.make("yolox-nano", "dark4"), ProjectionEncoder)
    assert isinstance(DARK4.make_decoder(None, "yolox-nano", "dark4"), BackProjection)
    assert isinstance(ENCODER.make("yolox-nano", "dark4"), PlainEncoder)
    assert ENCODER.make_decoder(DECODER, "yolox-nano", "dark4").branches.keys() == {"dark3", "dark4"}
