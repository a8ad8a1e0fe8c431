"""How a slimmable encoder is trained: sandwiches of widths, slices of the latent, and what a bundle makes of both."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from splitnet.bundle import load_device, load_server
from splitnet.errors import ConfigError
from splitnet.manifest import Manifest
from tests.tiny_student import CLASSES, SQUARE, make_teacher, pictures, slimmable_spec, write_pictures
from training.export import export_bundle, sent_at
from training.rate import GainedQuantiser, Quantised, sandwich_operating_points
from training.recipe import SLIMMABLE
from training.slimmable import measure_statistics
from training.student import Student, StudentSpec


def draw(count: int, widths: int, seed: int = 0) -> list[int]:
    return sandwich_operating_points(count, widths, 6, torch.Generator().manual_seed(seed))[0].tolist()


def test_every_batch_has_the_smallest_width_the_full_one_and_one_between():
    draws = [draw(8, 4, seed) for seed in range(40)]
    for widths in draws:
        counts = Counter(widths)
        assert (counts[4], counts[1]) == (3, 2)
        assert sorted(counts.values()) == [2, 3, 3]
    assert {widths[-1] for widths in draws} == {2, 3}


def test_a_seed_fixes_the_draw():
    assert draw(8, 4, 3) == draw(8, 4, 3)
    first, second = (sandwich_operating_points(8, 4, 6, torch.Generator().manual_seed(s))[1] for s in (1, 2))
    assert not torch.equal(first, second)
    assert first.min() >= 0
    assert first.max() < 6


@pytest.mark.parametrize(
    ("count", "widths", "expected"),
    [(4, 3, [3, 3, 1, 2]), (8, 1, [1] * 8), (4, 2, [2, 2, 1, 1]), (1, 4, [4]), (2, 2, [2, 1])],
)
def test_small_batches_and_few_widths_still_have_what_there_is(count, widths, expected):
    assert draw(count, widths) == expected


def test_a_draw_goes_over_all_middle_widths_alike():
    drawn = Counter(draw(4, 6, seed)[-1] for seed in range(400))
    assert set(drawn) == {2, 3, 4, 5}
    assert min(drawn.values()) > 60


def test_a_quality_sends_its_share_of_the_channels_and_the_rest_costs_nothing():
    torch.manual_seed(0)
    sent = torch.tensor([[[1.0, 1, 0, 0], [1, 1, 1, 1]]])
    point, latent = (torch.tensor([1, 1]), torch.tensor([0, 1])), 50 * torch.randn(2, 4, 3, 3)

    def quantised(what: torch.Tensor) -> Quantised:
        torch.manual_seed(1)
        return GainedQuantiser(1, 2, 4, what)(latent, *point)

    ours, rest, everything = quantised(sent), quantised(1 - sent), quantised(torch.ones(1, 2, 4))
    assert torch.all(ours.y_hat[0, 2:] == 0)
    assert ours.y_hat[0, :2].equal(everything.y_hat[0, :2])
    assert ours.y_hat[1].equal(everything.y_hat[1])
    torch.testing.assert_close(ours.bits + rest.bits, everything.bits)
    assert ours.bits[0] < everything.bits[0]


def test_what_is_not_sent_is_no_weight():
    quantiser = GainedQuantiser(1, 2, 4, torch.zeros(1, 2, 4))
    assert set(quantiser.state_dict()) == set(GainedQuantiser(1, 2, 4).state_dict())


def test_one_quality_begins_in_the_middle_of_many():
    gains = GainedQuantiser(1, 3, 2).gains()[0]
    torch.testing.assert_close(GainedQuantiser(1, 1, 2).gains()[0], gains[:, 1:2])


def test_a_finer_quality_sends_what_the_coarser_trained_one_does():
    sent = torch.tensor([[[1.0, 0, 0], [1, 1, 0], [1, 1, 1]]])
    assert sent_at(sent, 5).sum(dim=2).tolist() == [[1, 1, 2, 2, 3]]
    assert sent_at(sent, 3).equal(sent)
    assert sent_at(sent[:, :1], 1).equal(sent[:, :1])


def test_widths_and_qualities_slice_the_latent_together():
    spec = slimmable_spec()
    encoder = replace(spec.encoder, latent_shares=(34, 67, 100))
    sent = Student(replace(spec, encoder=encoder)).quantiser.sent
    assert sent.sum(dim=2).tolist() == [[3, 3], [3, 5], [3, 6]]
    assert torch.all(sent[..., 1:] <= sent[..., :-1])  # leading channels
    assert Student(replace(spec, encoder=replace(encoder, quality_shares=()))).quantiser.sent[2].all()


def test_shares_for_other_qualities_than_are_trained_are_refused():
    with pytest.raises(ConfigError, match="for 2 qualities, but 3 are trained"):
        Student(replace(slimmable_spec(), qualities=3))


def test_the_recipe_of_one_quality_has_its_price_only():
    alone = SLIMMABLE.alone(2)
    assert alone.prices == (SLIMMABLE.prices[2],)
    assert replace(alone, prices=SLIMMABLE.prices) == SLIMMABLE
    with pytest.raises(ConfigError, match=r"quality 6 is not in 0\.\.5"):
        SLIMMABLE.alone(6)


def exported(folder: Path, spec: StudentSpec, qualities: int) -> tuple[Student, Path]:
    """Return a student that knows its statistics, and the bundle of it."""
    torch.manual_seed(0)
    student = Student(spec)
    student.take_tail(make_teacher())
    with torch.no_grad():
        student.quantiser.log_gain.add_(1.0)
        student.encoder.bias.normal_()
    crops = torch.from_numpy(pictures(4)).permute(0, 3, 1, 2).float()
    measure_statistics(student.encoder, [crops])
    names = tuple(f"class {i}" for i in range(CLASSES))
    manifest = Manifest("slim", "yolox-nano", "dark3", 128, names, qualities, spec.encoder, spec.decoder, {})
    bundle = folder / "slim"
    export_bundle(bundle, manifest, student.eval(), None, write_pictures(folder, 4, 120, 160))
    return student, bundle


def test_a_bundle_says_what_was_trained_at_every_width_and_quality(tmp_path):
    student, folder = exported(tmp_path, slimmable_spec(), 3)
    device, server = load_device(folder), load_server(folder)
    gains, _ = student.quantiser.gains()
    canvas = pictures(1, 96, 128)[0]
    image = torch.from_numpy(canvas).permute(2, 0, 1)[None].float()
    for width in (1, 2, 3):
        for quality, trained in ((0, 0), (2, 1)):
            symbols = device.encoder.encode(canvas, width, quality)
            with torch.no_grad():
                expected = student.encoder(image, width)[0] * gains[width - 1, trained, :, None, None]
            expected[3 if quality == 0 else 6 :] = 0
            tolerance = 0.5 + 0.02 * float(expected.abs().max())  # weights were rounded to half precision
            assert np.abs(symbols - expected.numpy()).max() < tolerance
            payload = device.codec.compress(symbols, width, quality)
            header, received = server.codec.decompress(payload)
            np.testing.assert_array_equal(received, symbols)
            raw = server.half(server.half.dequantise(received, header.width, header.quality)[None])
            assert raw.shape == (1, 336, 5 + CLASSES)
            assert torch.isfinite(raw).all()


def test_channels_that_are_not_sent_cost_next_to_nothing(tmp_path):
    _, folder = exported(tmp_path, slimmable_spec(), 2)
    device = load_device(folder)
    symbols = device.encoder.encode(pictures(1, 96, 128)[0], 2, 0)
    assert np.all(symbols[3:] == 0)
    assert np.any(symbols[:3] != 0)
    bits = device.codec.model.bits
    assert bits(symbols, 2, 0) - bits(symbols[:3], 2, 0) < 0.1  # 144 symbols


def test_a_batch_of_several_widths_teaches_through_the_whole_student():
    student = Student(slimmable_spec())
    student.take_tail(make_teacher())
    canvas = torch.from_numpy(pictures(4)).permute(0, 3, 1, 2).float()
    widths, qualities = sandwich_operating_points(4, 3, 2, torch.Generator().manual_seed(0))
    outputs, quantised = student(canvas, SQUARE, widths, qualities, True)
    (outputs["p3"].square().mean() + quantised.bits.mean()).backward()
    for name, parameter in student.encoder.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    assert student.encoder.projection.grad.abs().sum() > 0
