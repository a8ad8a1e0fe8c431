"""Every kind of encoder knows its own form in a manifest, its widths and what it is made of."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from splitnet.errors import BundleError, ConfigError
from splitnet.nn.decoder import DecoderSpec
from splitnet.nn.encoder.ensemble import EnsembleSpec
from splitnet.nn.encoder.front import FrontSpec
from splitnet.nn.encoder.front_ensemble import FrontEnsembleSpec
from splitnet.nn.encoder.projection import ProjectionSpec
from splitnet.nn.encoder.sliced_front import SlicedFrontSpec
from splitnet.nn.encoder.slimmable import SlimmableSpec
from splitnet.nn.encoder.spec import EncoderSpec
from splitnet.nn.encoder_kinds import KINDS, encoder_from_json
from splitnet.nn.split_detector import DeviceHalf

DECODER = DecoderSpec(channels=8, blocks=1, branch_channels=4, branch_blocks=1)
SPECS = (
    EnsembleSpec(3, 4, 6, 8, 1, 5),
    FrontSpec((32, 48, 64), latent_channels=7, channels=8, blocks=1),
    SlicedFrontSpec((32, 64), latent_channels=7, channels=8, blocks=1, shares=(50, 75, 100)),
    FrontEnsembleSpec((32, 64), latent_channels=7, channels=8, blocks=1),
    SlimmableSpec((34, 67, 100), stem_channels=24, mid_channels=24, channels=24, blocks=1, latent_channels=6),
    ProjectionSpec({"dark3": 5}),
)
DECODERS = {spec.kind: None if spec.kind == "front+pca" else DECODER for spec in SPECS}

each_kind = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.kind)


def test_there_is_one_table_of_them():
    assert {spec.kind: type(spec) for spec in SPECS} == KINDS
    assert set(KINDS) == {"ensemble", "front", "sliced-front", "front-ensemble", "slimmable", "front+pca"}


@each_kind
def test_a_spec_survives_json(spec: EncoderSpec):
    stated = json.loads(json.dumps(spec.to_json()))
    assert encoder_from_json(stated) == spec
    assert ("kind" in stated) == (spec.kind != "ensemble")  # bundles from before there were kinds name none


@each_kind
def test_widths_sides_and_latent_are_those_of_its_networks(spec: EncoderSpec):
    spec.check(DECODERS[spec.kind], "yolox-nano", "dark3")
    encoder = spec.make("yolox-nano", "dark3")
    device = DeviceHalf(encoder, torch.ones(spec.widths, 1, spec.latent_channels))
    sides = spec.canvas_sides(64)
    assert len(sides) == spec.widths and sides[-1] == 64
    for width, side in enumerate(sides, start=1):
        latent = device.latent(np.zeros((side, side, 3), np.uint8), width)
        assert tuple(latent.shape) == (spec.latent_channels, side // 16, side // 16)
    with pytest.raises(ConfigError, match=f"width {spec.widths + 1} is not in 1..{spec.widths}"):
        encoder.narrow(spec.widths + 1)


@each_kind
def test_its_decoder_gives_what_the_detector_goes_on_with(spec: EncoderSpec):
    decoder = spec.make_decoder(DECODERS[spec.kind], "yolox-nano", "dark3")
    features = decoder(torch.zeros(1, spec.latent_channels, 4, 4))
    assert {name: tuple(x.shape) for name, x in features.items()} == {"dark3": (1, 64, 8, 8)}


@each_kind
def test_a_decoder_that_is_not_one_for_its_kind_is_refused(spec: EncoderSpec):
    with pytest.raises(ConfigError, match=f"the kind {spec.kind.replace('+', '.')}"):
        spec.check(DECODER if DECODERS[spec.kind] is None else None, "yolox-nano", "dark3")


@pytest.mark.parametrize("kind", ["tea", None, 7, ["front"]])
def test_an_unknown_kind_is_refused_by_name(kind):
    with pytest.raises(BundleError, match="unknown encoder kind"):
        encoder_from_json({"kind": kind, "latent_channels": 5})
