"""The YOLOX family: published sizes, public weights, and the same answer from any split point."""

import pytest
import torch

from splitnet.errors import ConfigError
from splitnet.nn.blocks import fold_batch_norm
from splitnet.nn.macs import count_macs, parameter_count
from splitnet.nn.yolox.blocks import ConvBlock, Focus
from splitnet.nn.yolox.network import FAMILY, SPLIT_POINTS, STAGES, YOLOX, features_at

# Millions of parameters and GFLOPs (two for each multiply-accumulate) as published with the weights.
PUBLISHED = {
    "yolox-nano": (0.91, 1.08),
    "yolox-tiny": (5.06, 6.45),
    "yolox-s": (9.0, 26.8),
    "yolox-m": (25.3, 73.8),
    "yolox-l": (54.2, 155.6),
    "yolox-x": (99.1, 281.9),
}


def randomise_norms(model: torch.nn.Module) -> None:
    """Give every batch normalisation statistics that a fold could get wrong."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 2.0),
                (module.weight, 0.8, 1.2),
                (module.bias, -0.2, 0.2),
            ):
                tensor.data.uniform_(low, high, generator=generator)


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_sizes_are_the_published_ones(name: str) -> None:
    parameters, gflops = PUBLISHED[name]
    with torch.device("meta"):
        model = YOLOX(name, 80, fused=False).eval()
        image = torch.zeros(1, 3, FAMILY[name].input_size, FAMILY[name].input_size)
    assert parameter_count(model) / 1e6 == pytest.approx(parameters, rel=0.01)
    assert 2 * count_macs(model, lambda: model(image)) / 1e9 == pytest.approx(gflops, rel=0.01)


def test_parameters_have_the_public_names() -> None:
    names = set(YOLOX("yolox-s", 80, fused=False).state_dict())
    for name in (
        "backbone.backbone.stem.conv.conv.weight",
        "backbone.backbone.dark2.1.m.0.conv2.bn.running_var",
        "backbone.backbone.dark5.1.conv2.bn.weight",
        "backbone.lateral_conv0.conv.weight",
        "backbone.C3_p4.conv3.conv.weight",
        "backbone.bu_conv1.conv.weight",
        "head.cls_convs.0.1.bn.bias",
        "head.stems.2.conv.weight",
        "head.obj_preds.1.bias",
    ):
        assert name in names
    depthwise = set(YOLOX("yolox-nano", 80, fused=False).state_dict())
    assert "backbone.backbone.dark3.0.dconv.conv.weight" in depthwise
    assert "head.reg_convs.2.0.pconv.bn.weight" in depthwise


def test_folding_changes_no_prediction() -> None:
    torch.manual_seed(0)
    model = YOLOX("yolox-nano", 7, fused=False).eval()
    randomise_norms(model)
    image = torch.rand(1, 3, 96, 96) * 255
    with torch.inference_mode():
        before = model(image)
        after = model.fuse()(image)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    assert model.fuse() is model  # folding twice is no error


def test_a_folded_checkpoint_fits_a_fused_detector() -> None:
    folded = YOLOX("yolox-nano", 7, fused=False).fuse()
    YOLOX("yolox-nano", 7, fused=True).load_state_dict(folded.state_dict())


@pytest.mark.parametrize("split_point", SPLIT_POINTS)
def test_the_rest_of_the_detector_goes_on_where_the_split_is(split_point: str) -> None:
    torch.manual_seed(0)
    whole = YOLOX("yolox-nano", 7).eval()
    rest = YOLOX("yolox-nano", 7, split_point).eval()
    kept = rest.state_dict()
    rest.load_state_dict({name: whole.state_dict()[name] for name in kept})
    image = torch.rand(2, 3, 64, 64) * 255
    with torch.inference_mode():
        trace = whole.trace({"image": image})
        features = {stage: trace[stage] for stage in features_at(split_point)}
        torch.testing.assert_close(rest.from_features(features), trace["raw"])
        whole.keep_from(split_point)
        torch.testing.assert_close(whole.from_features(features), trace["raw"])
    assert set(whole.state_dict()) == set(kept)


def test_the_neck_needs_dark3_even_when_the_split_lies_behind_it() -> None:
    assert features_at("dark2") == ("dark2",)
    assert features_at("dark3") == ("dark3",)
    assert features_at("dark4") == ("dark3", "dark4")


def test_strides_and_channels_of_every_stage() -> None:
    model = YOLOX("yolox-nano", 3).eval()
    with torch.inference_mode():
        trace = model.trace({"image": torch.zeros(1, 3, 64, 64)})
    sizes = [tuple(trace[stage].shape[1:]) for stage in STAGES]
    assert sizes == [(16, 32, 32), (32, 16, 16), (64, 8, 8), (128, 4, 4), (256, 2, 2)]
    assert tuple(trace["raw"].shape) == (1, 8 * 8 + 4 * 4 + 2 * 2, 5 + 3)


@pytest.mark.parametrize("stage", ["dark5", "neck", ""])
def test_an_impossible_split_point_is_refused(stage: str) -> None:
    with pytest.raises(ConfigError, match="unknown split point"):
        YOLOX("yolox-nano", 80, stage)


def test_an_unknown_detector_is_refused() -> None:
    with pytest.raises(ConfigError, match="choose one of yolox-nano"):
        YOLOX("yolox-huge", 80)


def test_focus_orders_pixels_as_the_public_weights_expect() -> None:
    focus = Focus(12, fused=True)
    with torch.no_grad():
        focus.conv.conv.weight.zero_()
        focus.conv.conv.bias.zero_()
        for channel in range(12):
            focus.conv.conv.weight[channel, channel, 1, 1] = 1
    focus.conv.act = torch.nn.Identity()
    image = torch.arange(4.0).reshape(1, 1, 2, 2).repeat(1, 3, 1, 1)  # 0 1 over 2 3
    assert focus(image)[0, ::3, 0, 0].tolist() == [0, 2, 1, 3]


@pytest.mark.parametrize("size", [(2, 2), (8, 6), (32, 48)])
@torch.no_grad()
def test_a_merged_focus_is_one_convolution_that_gives_the_same(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    focus, image = Focus(5, fused=True), torch.randn(2, 3, *size)
    torch.testing.assert_close(focus.merged()(image), focus(image), atol=1e-5, rtol=1e-5)


def test_folding_keeps_a_convolution_with_bias() -> None:
    torch.manual_seed(0)
    conv, bn = torch.nn.Conv2d(3, 5, 3), torch.nn.BatchNorm2d(5)
    block = torch.nn.Sequential(conv, bn).eval()
    randomise_norms(block)
    x = torch.rand(1, 3, 6, 6)
    torch.testing.assert_close(fold_batch_norm(conv, bn)(x), block(x))
    assert isinstance(ConvBlock(3, 4, 3, fused=True).bn, torch.nn.Identity)
