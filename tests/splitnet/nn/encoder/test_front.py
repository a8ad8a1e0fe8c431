"""The encoder that begins with the detector's own stages: shapes, widths, what is refused, what a manifest says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from splitnet.errors import BundleError, ConfigError
from splitnet.manifest import Manifest, load_manifest
from splitnet.nn.decoder import Decoder
from splitnet.nn.encoder.ensemble import EnsembleSpec
from splitnet.nn.encoder.front import Analysis, FrontEncoder, FrontSpec
from splitnet.nn.encoder.projection import ProjectionSpec
from splitnet.nn.yolox.network import YOLOX
from tests.support.tiny_student import DECODER, FRONT

NAMES = ("cat", "dog")


def encoder_of(spec: FrontSpec = FRONT, split_point: str = "dark3") -> FrontEncoder:
    torch.manual_seed(0)
    return FrontEncoder(spec, "yolox-nano", split_point).eval()


def manifest_of(spec: FrontSpec = FRONT, input_size: int = 128, split_point: str = "dark3") -> Manifest:
    return Manifest("front", "yolox-nano", split_point, input_size, NAMES, 3, spec, DECODER, {})


@pytest.mark.parametrize("split_point", ["stem", "dark2", "dark3"])
@torch.no_grad()
def test_a_picture_becomes_a_latent_of_a_sixteenth_of_its_sides(split_point):
    latent = encoder_of(split_point=split_point)(torch.zeros(2, 3, 48, 64))
    assert latent.shape == (2, FRONT.latent_channels, 3, 4)


@torch.no_grad()
def test_the_features_are_those_of_the_detector():
    detector, encoder = YOLOX("yolox-nano", 2).eval(), encoder_of()
    encoder.take_stages(detector)
    image = torch.rand(1, 3, 64, 64) * 255
    torch.testing.assert_close(encoder.features(image), detector.trace({"image": image})["dark3"])


@torch.no_grad()
def test_a_residual_network_that_says_nothing_leaves_the_linear_transform():
    analysis = Analysis(FRONT, 64, 2)
    torch.nn.init.zeros_(analysis.out.bias)
    features = torch.randn(1, 64, 8, 8)
    torch.testing.assert_close(analysis(features), analysis.linear(features))


@torch.no_grad()
def test_the_residual_network_is_added_to_the_linear_transform():
    analysis = Analysis(FRONT, 64, 2)
    torch.nn.init.ones_(analysis.out.bias)
    features = torch.randn(1, 64, 8, 8)
    torch.testing.assert_close(analysis(features), analysis.linear(features) + 1)


def test_every_width_is_the_same_network():
    encoder = encoder_of()
    assert encoder.narrow(1) is encoder.narrow(2) is encoder


@pytest.mark.parametrize("width", [0, 3])
def test_a_width_without_a_side_is_refused(width):
    with pytest.raises(ConfigError, match=f"width {width} is not in 1..2"):
        encoder_of().narrow(width)


@pytest.mark.parametrize(
    ("sides", "message"),
    [((), "must rise"), ((64, 64), "must rise"), ((128, 64), "must rise"), ((40, 128), "of 16"), ((0, 64), "of 16")],
)
def test_odd_sides_are_refused(sides, message):
    with pytest.raises(ConfigError, match=message):
        FrontSpec(sides)


@pytest.mark.parametrize("field", ["latent_channels", "channels", "blocks"])
@pytest.mark.parametrize("value", [-1, 1025])
def test_absurd_sizes_are_refused(field, value):
    with pytest.raises(ConfigError, match=f"{field} is {value}, must be "):
        replace(FRONT, **{field: value})


def test_a_split_that_sends_several_tensors_is_refused():
    with pytest.raises(ConfigError, match="choose stem, dark2 or dark3"):
        encoder_of(split_point="dark4")
    with pytest.raises(BundleError, match="choose stem, dark2 or dark3"):
        manifest_of(split_point="dark4")


def test_the_kind_makes_its_encoder_and_its_decoder():
    encoder, decoder = (
        FRONT.make("yolox-nano", "dark3"),
        FRONT.make_decoder(DECODER, "yolox-nano", "dark3"),
    )
    assert isinstance(encoder, FrontEncoder)
    assert isinstance(decoder, Decoder)
    assert set(decoder.linear) == {"dark3"}


@pytest.mark.parametrize("split_point", ["stem", "dark2", "dark3"])
@torch.no_grad()
def test_the_decoder_adds_a_linear_transform_to_its_branch(split_point):
    decoder = FRONT.make_decoder(DECODER, "yolox-nano", split_point)
    assert isinstance(decoder, Decoder)
    torch.nn.init.zeros_(decoder.branches[split_point][-1].weight)
    torch.nn.init.zeros_(decoder.branches[split_point][-1].bias)
    latent = torch.randn(1, FRONT.latent_channels, 4, 4)
    torch.testing.assert_close(decoder(latent)[split_point], decoder.linear[split_point](latent))


def test_a_manifest_survives_the_disk(tmp_path: Path):
    manifest = manifest_of()
    manifest.write(tmp_path)
    assert load_manifest(tmp_path) == manifest
    assert load_manifest(tmp_path).digest == manifest.digest


def test_a_manifest_knows_the_side_of_every_width():
    manifest = manifest_of()
    assert (manifest.widths, manifest.sides) == (2, (64, 128))
    assert [manifest.side(width) for width in (0, 1, 2)] == [128, 64, 128]
    with pytest.raises(ConfigError, match=r"width 3: bundle front has widths 1\.\.2"):
        manifest.side(3)


@pytest.mark.parametrize("spec", [EnsembleSpec(members=3), ProjectionSpec({"dark3": 4})])
def test_other_kinds_see_the_whole_square_at_every_width(spec):
    decoder = DECODER if isinstance(spec, EnsembleSpec) else None
    manifest = Manifest("other", "yolox-nano", "dark3", 128, NAMES, 3, spec, decoder, {})
    assert manifest.sides == (128,) * spec.widths


def test_the_full_width_must_see_the_whole_square():
    with pytest.raises(BundleError, match="the full width sees 128 pixels a side"):
        manifest_of(input_size=256)


@pytest.mark.parametrize(
    "change",
    [
        {"sides": 64},
        {"sides": [64.0, 128]},
        {"sides": [True, 128]},
        {"channels": "8"},
        {"kind": "side"},
        {"blocks": None},
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, change):
    manifest_of().write(tmp_path)
    path = tmp_path / "manifest.json"
    values = json.loads(path.read_text())
    values["encoder"] |= change
    path.write_text(json.dumps(values))
    with pytest.raises(BundleError, match=r"manifest\.json"):
        load_manifest(tmp_path)


def test_a_manifest_without_a_size_is_refused(tmp_path: Path):
    manifest_of().write(tmp_path)
    path = tmp_path / "manifest.json"
    values = json.loads(path.read_text())
    del values["encoder"]["blocks"]
    path.write_text(json.dumps(values))
    with pytest.raises(BundleError, match="'blocks' is missing"):
        load_manifest(tmp_path)
