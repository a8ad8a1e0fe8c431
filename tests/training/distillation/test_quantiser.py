"""Latents to symbols on the device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splitnet.errors import ConfigError
from splitnet.nn.encoder.ensemble import EnsembleSpec, PlainEncoder
from splitnet.nn.split_detector import DeviceHalf
from splitnet.quantiser import MAX_SYMBOL

SPEC = EnsembleSpec(members=2, stem_channels=4, mid_channels=6, channels=8, blocks=1, latent_channels=3)


def half_with(gains: torch.Tensor) -> DeviceHalf:
    return DeviceHalf(PlainEncoder(SPEC, 2), gains)


def test_a_symbol_is_the_latent_times_its_channels_gain_rounded_half_to_even():
    gains = torch.ones(2, 2, 3)
    gains[1, 0] = torch.tensor([0.5, 1.0, 2.0])
    latent = torch.tensor([1.0, 3.0, -1.0, 0.25]).expand(3, 1, 4)
    symbols = half_with(gains).quantise(latent, width=2, quality=0)
    assert symbols.dtype == np.int16
    assert symbols[:, 0].tolist() == [[0, 2, 0, 0], [1, 3, -1, 0], [2, 6, -2, 0]]
    assert latent[0, 0].tolist() == [1.0, 3.0, -1.0, 0.25]  # another quality may be asked for


def test_symbols_are_clamped():
    latent = torch.tensor([1e9, -1e9, 2047.4, -2047.6]).expand(3, 1, 4)
    symbols = half_with(torch.ones(2, 1, 3)).quantise(latent, 1, 0)
    assert symbols[0, 0].tolist() == [MAX_SYMBOL, -MAX_SYMBOL, MAX_SYMBOL, -MAX_SYMBOL]


def test_gains_that_are_being_trained_can_be_tried():
    trained = torch.full((2, 1, 3), 4.0, requires_grad=True)
    assert half_with(trained).quantise(torch.ones(3, 1, 1), 1, 0).tolist() == [[[4]], [[4]], [[4]]]


@pytest.mark.parametrize(("width", "quality"), [(0, 0), (3, 0), (1, 1), (1, -1)])
def test_a_point_outside_of_the_bundle_is_refused(width, quality):
    with pytest.raises(ConfigError, match=r"widths 1\.\.2 and qualities 0\.\.0"):
        half_with(torch.ones(2, 1, 3)).quantise(torch.ones(3, 1, 1), width, quality)
