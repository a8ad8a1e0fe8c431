"""The ensemble encoder: width is an argument, and what is deployed equals what was trained."""

import numpy as np
import pytest
import torch

from splitnet.errors import ConfigError
from splitnet.nn.encoder.ensemble import EnsembleEncoder, EnsembleSpec, PlainEncoder
from splitnet.nn.split_detector import DeviceHalf
from splitnet.quantiser import MAX_SYMBOL
from tests.splitnet.nn.yolox.test_network import randomise_norms

SPEC = EnsembleSpec(members=3, stem_channels=4, mid_channels=6, channels=8, blocks=2, latent_channels=5)


@pytest.fixture
def ensemble() -> EnsembleEncoder:
    torch.manual_seed(0)
    encoder = EnsembleEncoder(SPEC)
    torch.nn.init.normal_(encoder.bias)
    randomise_norms(encoder)
    return encoder.eval()


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, 48, 80), generator=torch.Generator().manual_seed(0)).float()


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_materialised_width_equals_the_ensemble_at_that_width(
    ensemble: EnsembleEncoder, image: torch.Tensor, width: int
) -> None:
    with torch.inference_mode():
        trained = ensemble(image, width)
        plain = ensemble.materialise(width)(image)
    assert plain.shape == (2, SPEC.latent_channels, 3, 5)
    scale = trained.abs().max()
    torch.testing.assert_close(plain / scale, trained / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize("width", [1, 2])
def test_a_narrow_network_cut_from_a_wide_one_is_the_same(
    ensemble: EnsembleEncoder, image: torch.Tensor, width: int
) -> None:
    with torch.inference_mode():
        direct, cut = ensemble.materialise(width)(image), ensemble.materialise(3).narrow(width)(image)
    torch.testing.assert_close(cut, direct)


def test_one_batch_can_hold_many_widths(ensemble: EnsembleEncoder) -> None:
    image = torch.rand(3, 3, 32, 32) * 255
    with torch.inference_mode():
        mixed = ensemble.latents(image, torch.tensor([3, 1, 2]))
        for i, width in enumerate((3, 1, 2)):
            torch.testing.assert_close(mixed[i : i + 1], ensemble(image[i : i + 1], width), rtol=1e-4, atol=1e-3)


def test_later_members_leave_earlier_ones_alone(ensemble: EnsembleEncoder, image: torch.Tensor) -> None:
    with torch.inference_mode():
        sums = ensemble.partial_sums(image, 3)
        torch.testing.assert_close(sums[:, :2], ensemble.partial_sums(image, 2))


def test_width_is_an_argument_and_leaves_no_trace(ensemble: EnsembleEncoder, image: torch.Tensor) -> None:
    with torch.inference_mode():
        before = ensemble(image, 3)
        ensemble(image, 1)
        assert torch.equal(ensemble(image, 3), before)


def test_cost_is_linear_in_width() -> None:
    half = DeviceHalf(EnsembleEncoder(EnsembleSpec()).materialise(4), torch.ones(4, 2, 48))
    one = half.mmacs(1, 416, 416)
    assert one < 60
    assert half.mmacs(4, 416, 416) == pytest.approx(4 * one, rel=1e-6)
    assert half.mmacs(4, 208, 416) == pytest.approx(2 * one, rel=1e-6)


@pytest.mark.parametrize("width", [0, 4, -1])
def test_a_width_that_is_not_there_is_refused(width: int) -> None:
    with pytest.raises(ConfigError, match=r"width .* is not in 1\.\.3"):
        PlainEncoder(SPEC, width)


@pytest.mark.parametrize("field", ["members", "channels", "latent_channels", "blocks"])
@pytest.mark.parametrize("value", [0, -3, 100_000])
def test_an_absurd_size_is_refused(field: str, value: int) -> None:
    with pytest.raises(ConfigError, match=field):
        EnsembleSpec(**{field: value})


@pytest.fixture
def device_half(ensemble: EnsembleEncoder) -> DeviceHalf:
    gains = torch.tensor([0.01, 1.0])[None, :, None].repeat(3, 1, 5)
    return DeviceHalf(ensemble.materialise(3), gains)


def test_symbols_are_the_rounded_latent_times_the_gain(ensemble: EnsembleEncoder, device_half: DeviceHalf) -> None:
    canvas = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    symbols = device_half.encode(canvas, width=2, quality=1)
    with torch.inference_mode():
        latent = ensemble(torch.from_numpy(canvas).permute(2, 0, 1)[None].float(), 2)[0].numpy()
    # Floats differ in the last digits between the two networks, so a value near a half may round either way.
    assert np.abs(symbols - latent).max() < 0.502
    assert symbols.dtype == np.int16
    assert symbols.flags.c_contiguous


def test_quality_scales_the_symbols(device_half: DeviceHalf) -> None:
    canvas = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert np.abs(device_half.encode(canvas, 3, 0)).sum() < np.abs(device_half.encode(canvas, 3, 1)).sum()


def test_symbols_are_bounded(ensemble: EnsembleEncoder) -> None:
    half = DeviceHalf(ensemble.materialise(3), torch.full((3, 1, 5), 1e6))
    symbols = half.encode(np.full((16, 16, 3), 200, np.uint8), 1, 0)
    assert np.abs(symbols).max() == MAX_SYMBOL


@pytest.mark.parametrize(("width", "quality"), [(0, 0), (4, 0), (1, 2), (1, -1)])
def test_an_operating_point_that_is_not_there_is_refused(device_half: DeviceHalf, width: int, quality: int) -> None:
    with pytest.raises(ConfigError, match=r"widths 1\.\.3"):
        device_half.encode(np.zeros((16, 16, 3), np.uint8), width, quality)


@pytest.mark.parametrize("shape", [(15, 16, 3), (16, 16), (16, 16, 1), (16, 17, 3)])
def test_a_canvas_of_another_shape_is_refused(device_half: DeviceHalf, shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="multiples of 16"):
        device_half.encode(np.zeros(shape, np.uint8), 1, 0)


def test_warming_up_runs_every_width(device_half: DeviceHalf) -> None:
    for width in range(1, device_half.widths + 1):
        device_half.warm_up(width, 32, 48)
