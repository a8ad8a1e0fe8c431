"""Gains, the estimate of the bytes, and the draw of operating points."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.distillation.rate import GainedQuantiser, logistic_bits, pad_to, uniform_operating_points

WIDTHS, QUALITIES, CHANNELS = 3, 4, 5
FLOOR = 1e-6  # the least probability that the estimate believes in


def bits(symbol: float, location: float = 0.0, log_scale: float = 0.0) -> float:
    return logistic_bits(torch.tensor(symbol), torch.tensor(location), torch.tensor(log_scale)).item()


def integrated_bits(symbol: float, location: float, log_scale: float) -> float:
    """Integrate the logistic density over the symbol's unit interval, by the trapezoidal rule."""
    scale = math.exp(log_scale)
    x = np.linspace(symbol - 0.5, symbol + 0.5, 20_001)
    density = 1 / (4 * scale * np.cosh((x - location) / (2 * scale)) ** 2)
    mass = float(((density[:-1] + density[1:]) / 2 * np.diff(x)).sum())
    return -math.log2(max(mass, FLOOR))


@pytest.mark.parametrize("symbol", [-7.0, -1.0, 0.0, 0.4, 3.0, 12.0])
@pytest.mark.parametrize(("location", "log_scale"), [(0.0, 0.0), (0.3, -1.0), (-1.7, 0.8), (2.0, 2.5)])
def test_bits_are_those_of_the_integrated_density(symbol, location, log_scale):
    assert bits(symbol, location, log_scale) == pytest.approx(integrated_bits(symbol, location, log_scale), abs=1e-3)


def test_a_symbol_at_the_centre_of_the_standard_logistic_costs_a_known_price():
    assert bits(0.0) == pytest.approx(-math.log2(math.tanh(0.25)), rel=1e-5)


@given(location=st.floats(-3, 3), log_scale=st.floats(-4, 2))
def test_the_probabilities_of_all_symbols_sum_to_one(location, log_scale):
    symbols = torch.arange(-400.0, 401.0)
    mass = 2.0 ** -logistic_bits(symbols, torch.tensor(location), torch.tensor(log_scale))
    assert mass.sum().item() == pytest.approx(1.0, abs=800 * FLOOR + 1e-4)


@given(distance=st.floats(0, 30), location=st.floats(-3, 3))
def test_both_sides_of_the_centre_cost_the_same(distance, location):
    assert bits(location + distance, location) == pytest.approx(bits(location - distance, location), abs=1e-2)


@pytest.mark.parametrize("symbol", [-1e9, -2047.0, 0.0, 2047.0, 1e9])
@pytest.mark.parametrize("log_scale", [-1e3, -5.0, 0.0, 5.0, 1e3])
def test_extremes_are_finite_and_so_are_their_gradients(symbol, log_scale):
    values = [torch.tensor(v, requires_grad=True) for v in (symbol, 0.0, log_scale)]
    cost = logistic_bits(*values)
    cost.backward()
    assert 0 <= cost.item() <= -math.log2(FLOOR) + 1e-3
    assert all(torch.isfinite(v.grad) for v in values)


@pytest.fixture
def quantiser() -> GainedQuantiser:
    torch.manual_seed(0)
    made = GainedQuantiser(WIDTHS, QUALITIES, CHANNELS)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return made


def test_a_new_quantiser_undoes_its_own_gains():
    gains, inverse = GainedQuantiser(WIDTHS, QUALITIES, CHANNELS).gains()
    assert gains.shape == inverse.shape == (WIDTHS, QUALITIES, CHANNELS)
    torch.testing.assert_close(gains * inverse, torch.ones_like(gains))


def test_a_new_quantiser_has_finer_steps_for_higher_qualities():
    gains, _ = GainedQuantiser(WIDTHS, QUALITIES, CHANNELS).gains()
    assert gains[0, 0, 0].item() == pytest.approx(0.5)
    assert gains[-1, -1, -1].item() == pytest.approx(4.0)
    assert (gains.diff(dim=1) > 0).all()


def test_each_image_gets_the_gains_of_its_own_width_and_quality(quantiser):
    gains, inverse = quantiser.gains()
    latent = torch.randn(3, CHANNELS, 2, 2) * 5
    widths, qualities = torch.tensor([1, 3, 2]), torch.tensor([0, 3, 1])
    y_hat = quantiser(latent, widths, qualities).y_hat
    for i, (w, q) in enumerate(zip(widths.tolist(), qualities.tolist(), strict=True)):
        gain, undo = gains[w - 1, q, :, None, None], inverse[w - 1, q, :, None, None]
        torch.testing.assert_close(y_hat[i], (latent[i] * gain).round() * undo)


def test_bits_are_summed_for_each_image(quantiser):
    widths, qualities = torch.tensor([1, 1]), torch.tensor([0, 0])
    small = quantiser(torch.zeros(2, CHANNELS, 2, 2), widths, qualities).bits
    large = quantiser(torch.zeros(2, CHANNELS, 20, 20), widths, qualities).bits
    assert small.shape == (2,)
    assert large.sum().item() == pytest.approx(100 * small.sum().item(), rel=0.3)  # the noise differs


def test_rounding_lets_gradients_straight_through(quantiser):
    gains, inverse = quantiser.gains()
    latent = torch.randn(1, CHANNELS, 2, 2).requires_grad_()
    quantiser(latent, torch.tensor([2]), torch.tensor([1])).y_hat.sum().backward()
    expected = (gains * inverse)[1, 1, :, None, None].expand(1, CHANNELS, 2, 2)
    torch.testing.assert_close(latent.grad, expected)


def test_gradients_reach_the_gains_of_the_drawn_points_only(quantiser):
    quantised = quantiser(torch.randn(1, CHANNELS, 4, 4), torch.tensor([2]), torch.tensor([1]))
    (quantised.y_hat.sum() + quantised.bits.sum()).backward()
    for parameter in quantiser.parameters():
        touched = parameter.grad.abs().sum(dim=2) > 0
        assert touched.nonzero().tolist() == [[1, 1]]


def test_a_cheaper_latent_lies_down_the_gradient_of_its_bits(quantiser):
    latent = (torch.randn(1, CHANNELS, 8, 8) * 2).requires_grad_()
    point = torch.tensor([3]), torch.tensor([2])
    before = quantiser(latent, *point).bits.sum()
    before.backward()
    with torch.no_grad():
        after = quantiser(latent - 0.2 * latent.grad, *point).bits.sum()
    assert after < before


def draw(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return uniform_operating_points(count, WIDTHS, QUALITIES, torch.Generator().manual_seed(seed))


def test_a_third_of_the_images_and_an_even_share_of_the_others_get_the_full_width():
    widths, qualities = draw(60_000)
    shares = torch.bincount(widths, minlength=WIDTHS + 1) / len(widths)
    rest = 2 / 3 / WIDTHS
    assert shares.tolist() == pytest.approx([0.0, rest, rest, rest + 1 / 3], abs=0.01)
    assert (torch.bincount(qualities) / len(qualities)).tolist() == pytest.approx([1 / QUALITIES] * QUALITIES, abs=0.01)


def test_width_and_quality_are_drawn_apart():
    widths, qualities = draw(60_000)
    assert torch.corrcoef(torch.stack((widths, qualities)).float())[0, 1].abs() < 0.02


def test_a_seed_draws_the_same_points_again():
    for ours, again, other in zip(draw(50), draw(50), draw(50, seed=1), strict=True):
        assert torch.equal(ours, again)
        assert not torch.equal(ours, other)


def test_one_width_and_one_quality_leave_no_choice():
    widths, qualities = uniform_operating_points(10, 1, 1, torch.Generator())
    assert widths.tolist() == [1] * 10
    assert qualities.tolist() == [0] * 10


def test_a_latent_is_padded_with_zeros_at_right_and_bottom():
    padded = pad_to(torch.ones(2, CHANNELS, 3, 2), 4)
    assert padded.shape == (2, CHANNELS, 4, 4)
    assert (padded[:, :, :3, :2] == 1).all()
    assert padded.sum() == 2 * CHANNELS * 3 * 2


def test_a_full_latent_is_left_as_it_is():
    latent = torch.randn(1, CHANNELS, 4, 4)
    assert torch.equal(pad_to(latent, 4), latent)
