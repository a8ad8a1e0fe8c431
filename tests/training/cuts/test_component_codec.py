"""Coding features by their principal components: what the tables cost, what a rank loses, what a step loses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splitnet.codec.bitstream import HEADER_BYTES
from splitnet.codec.feature_codec import FeatureCodec
from splitnet.nn.encoder.projection import Patch
from training.cuts.component_codec import (
    ContextStatistics,
    CutCodec,
    LatentStatistics,
    Rank,
    gains_of,
    quantised,
    ranks_of,
)
from training.cuts.components import Basis, Moments

SIDES = {"fine": 2, "coarse": 1}
STEPS = (4.0, 1.0, 0.1)


def features(seed: int = 0) -> dict[str, torch.Tensor]:
    """Return two tensors with channels that depend on one another; the coarse one is ten times as large."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(6, 6, generator=torch.Generator().manual_seed(9)) * torch.tensor([3.0, 2.0, 1.0, 0.3, 0.1, 0.1])
    fine = (torch.randn(1, 16, 12, 6, generator=generator) @ mix.T).permute(0, 3, 1, 2)
    coarse = 10 * torch.randn(1, 4, 8, 6, generator=generator)
    return {"fine": fine.contiguous() + 20, "coarse": coarse + 60}


def bases() -> dict[str, Basis]:
    found = {}
    for name, x in features(1).items():
        moments = Moments(x.shape[1])
        moments.add(x[0].flatten(1).T.numpy())
        found[name] = Basis.of(moments, np.zeros(x.shape[1]))
    return found


@pytest.fixture(scope="module")
def codec() -> CutCodec:
    codec = CutCodec(bases(), SIDES, ranks_of(bases(), (0.8, 1.0)), STEPS)
    codec.fit(lambda: map(features, range(1, 9)), (8, 6))
    return codec


def relative_error(codec: CutCodec, rank: int, step: int, name: str) -> float:
    x = features(1)
    back = codec.decompress(codec.compress(codec.symbols(x), rank, step), rank, 8)
    height, width = x[name].shape[2:]
    error = ((back[name][:, :, :height, :width] - x[name]) ** 2).mean()
    return float(error) / bases()[name].deviation ** 2


def test_a_step_is_in_deviations_of_each_tensor_and_the_flag_is_sent_as_it_is():
    found = bases()
    gains = gains_of(found, {"fine": Patch(6, 2, 2), "coarse": Patch(4, 3, 1)}, STEPS)
    assert gains.shape == (1, 3, 2 * 4 + 1 + 3 + 1)
    torch.testing.assert_close(gains[0, :, 0], 1 / (torch.tensor(STEPS) * found["fine"].deviation))
    torch.testing.assert_close(gains[0, :, 9], 1 / (torch.tensor(STEPS) * found["coarse"].deviation))
    assert (gains[0][:, [8, 12]] == 1).all()


def test_ranks_that_are_the_same_are_measured_once():
    found = ranks_of(bases(), (1.0, 0.9999999, 0.5))
    assert found[-1] == Rank(0.9999999, {"fine": 6, "coarse": 4})
    assert len(found) == 2
    assert found[0].components["fine"] < 6


@pytest.mark.parametrize("name", ["fine", "coarse"])
def test_fine_steps_of_all_components_lose_next_to_nothing(codec, name):
    assert relative_error(codec, 1, 2, name) == pytest.approx(0.1**2 / 12, rel=0.2)


@pytest.mark.parametrize("name", ["fine", "coarse"])
def test_coarse_steps_lose_no_more_than_saying_nothing_would(codec, name):
    assert relative_error(codec, 1, 1, name) < relative_error(codec, 1, 0, name) < 1.1


def test_a_low_rank_costs_fewer_bytes_and_what_it_leaves_out(codec):
    symbols = codec.symbols(features(1))
    low, high = (len(codec.compress(symbols, rank, 2)) for rank in (0, 1))
    assert low < 0.8 * high
    assert codec.latent_channels(0) < codec.latent_channels(1) == 6 * 4 + 1 + 4 + 1
    kept = codec.ranks[0].components["fine"]
    left_out = 1 - bases()["fine"].energy(kept)
    assert relative_error(codec, 0, 2, "fine") == pytest.approx(left_out, abs=0.01)


def test_coarser_steps_cost_fewer_bytes(codec):
    symbols = codec.symbols(features(1))
    sizes = [len(codec.compress(symbols, 1, step)) for step in range(3)]
    assert HEADER_BYTES < sizes[0] < sizes[1] < sizes[2]


def test_what_lies_beside_the_image_is_grey(codec):
    symbols = [one[:, :4, :3] for one in codec.symbols(features(1))]
    back = codec.decompress(codec.compress(symbols, 1, 2), 1, 8)
    assert back["fine"].shape == (1, 6, 16, 16)
    assert back["fine"][:, :, 8:].abs().max() < 1e-5
    assert back["fine"][:, :, :, 6:].abs().max() < 1e-5
    assert back["fine"][:, :, :8, :6].mean() > 10


def test_gains_are_undone_by_what_lies_inside_the_intervals():
    gains = torch.tensor([[[1.0, 2.0, 4.0]]])
    statistics = LatentStatistics(gains)
    latent = torch.zeros(1, 3, 2, 2)
    latent[0, 0] = 0.75  # symbol 1 stands for 0.75
    latent[0, 1] = 1.0  # symbol 2 stands for 1.0
    statistics.add(latent)
    torch.testing.assert_close(statistics.inverse_gains(), torch.tensor([[[0.75, 0.5, 0.25]]]))


def test_a_symbol_beside_loud_ones_is_coded_as_such():
    gains, ramp = torch.ones(1, 1, 1), 9 * torch.arange(-15.5, 16).sign().expand(1, 1, 32, 32)
    alone = LatentStatistics(gains)
    alone.add(ramp)
    in_context = ContextStatistics(gains, alone.entropy_model())
    in_context.add(ramp)
    model = in_context.entropy_model()
    symbols = ramp[0].to(torch.int16).numpy()
    codecs = [FeatureCodec(one, bytes(8), (1, 32, 32)) for one in (alone.entropy_model(), model)]
    sizes = [len(codec.compress(symbols, 1, 0)) for codec in codecs]
    assert sizes[1] < sizes[0] / 2
    np.testing.assert_array_equal(codecs[1].decompress(codecs[1].compress(symbols, 1, 0))[1], symbols)


def test_symbols_are_bounded():
    latent = torch.tensor([1e9, -1e9, 0.6])[:, None, None]
    assert quantised(latent, torch.ones(3)).flatten().tolist() == [2047.0, -2047.0, 1.0]
