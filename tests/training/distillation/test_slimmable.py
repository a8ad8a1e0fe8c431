"""A slimmable encoder's training: sandwiches of widths, slices of the latent, and what a bundle makes of both."""

from __future__ import annotations

import copy
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from splitnet.bundle import load_device, load_server
from splitnet.errors import ConfigError
from splitnet.manifest import Manifest
from splitnet.nn.encoder.slimmable import SharedEncoder, SlimmableSpec
from splitnet.nn.split_detector import DeviceHalf
from tests.support.labelled_images import annotations
from tests.support.tiny_student import (
    CLASSES,
    DECODER,
    SQUARE,
    make_teacher,
    random_images,
    slimmable_spec,
    write_random_images,
)
from training import distill as distill_run
from training.detectors.detector_file import DetectorNote, write_detector
from training.distill import train_split
from training.distillation.export import export_bundle, sent_at
from training.distillation.plan import recipe_of, student_spec
from training.distillation.rate import GainedQuantiser, Quantised, sandwich_operating_points
from training.distillation.recipe import RECIPES, SLIMMABLE
from training.distillation.settings import DistillSettings
from training.distillation.slimmable import measure_statistics
from training.distillation.student import Student, StudentSpec
from training.distillation.task import Distillation, DistillConfig


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
    crops = torch.from_numpy(random_images(4)).permute(0, 3, 1, 2).float()
    measure_statistics(student.encoder, [crops])
    names = tuple(f"class {i}" for i in range(CLASSES))
    manifest = Manifest("slim", "yolox-nano", "dark3", 128, names, qualities, spec.encoder, spec.decoder, {})
    bundle = folder / "slim"
    export_bundle(bundle, manifest, student.eval(), None, write_random_images(folder, 4, 120, 160))
    return student, bundle


def test_a_bundle_says_what_was_trained_at_every_width_and_quality(tmp_path):
    student, folder = exported(tmp_path, slimmable_spec(), 3)
    device, server = load_device(folder), load_server(folder)
    gains, _ = student.quantiser.gains()
    canvas = random_images(1, 96, 128)[0]
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
    symbols = device.encoder.encode(random_images(1, 96, 128)[0], 2, 0)
    assert np.all(symbols[3:] == 0)
    assert np.any(symbols[:3] != 0)
    bits = device.codec.model.bits
    assert bits(symbols, 2, 0) - bits(symbols[:3], 2, 0) < 0.1  # 144 symbols


NEEDED = {"teacher": Path("t.onnx"), "classes": Path("c.json"), "images": (Path("p"),), "run": Path("r")}
SETTINGS = DistillSettings(**NEEDED, bundle=Path("b"), encoder="slimmable")


def test_the_usual_slimmable_sends_half_of_the_latent_at_its_coarsest_quality():
    spec = student_spec(SETTINGS, 80)
    assert spec.encoder == SlimmableSpec(quality_shares=(50, 60, 70, 80, 90, 100))
    assert (spec.widths, spec.stacked, spec.qualities) == (4, 1, SLIMMABLE.qualities)
    assert recipe_of(SETTINGS) == SLIMMABLE


def test_the_latent_is_sliced_by_what_is_asked_and_widths_are_as_asked():
    by_width = student_spec(replace(SETTINGS, slice_latent="width"), 80)
    assert by_width.encoder == SlimmableSpec(latent_shares=(50, 66, 83, 100))
    not_at_all = student_spec(replace(SETTINGS, slice_latent="nothing", shares=[25, 100]), 80)
    assert not_at_all.encoder == SlimmableSpec((25, 100))
    with pytest.raises(ConfigError, match="the last one 100"):
        student_spec(replace(SETTINGS, shares=[25, 50]), 80)


def test_one_point_alone_is_a_network_and_a_price_of_its_own():
    settings = replace(SETTINGS, only=(2, 4))
    spec, recipe = student_spec(settings, 80), recipe_of(settings)
    assert spec.encoder == SlimmableSpec().alone(2)
    assert (spec.widths, spec.qualities, recipe.prices) == (1, 1, SLIMMABLE.prices[4:5])
    sliced = student_spec(replace(settings, slice_latent="width"), 80).encoder
    assert sliced.latent_channels == 32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"only": (5, 0)}, r"width 5 is not in 1\.\.4"),
        ({"only": (0, 0)}, r"width 0 is not in 1\.\.4"),
        ({"only": (1, 6)}, r"quality 6 is not in 0\.\.5"),
        ({"only": (1, -1)}, "quality -1 is not in"),
        ({"only": (1, 0), "encoder": "ensemble"}, "--only is for encoders that share their weights"),
        ({"only": (9, 0), "encoder": "front"}, r"width 9 is not in 1\.\.4"),
        ({"only": (1, 0), "encoder": "front"}, "width 1 sees 208 pixels a side: a detector alone needs a multiple"),
        ({"shares": (50, 100), "encoder": "front"}, "--shares is for encoders with slices"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        student_spec(replace(SETTINGS, **change), 80)


CONFIG = DistillConfig(SQUARE, replace(SLIMMABLE, prices=(2.0, 0.2), matrix_rate=5e-2, peak_rate=2e-2))


def test_the_error_on_a_fixed_batch_falls_at_every_width():
    task, batch = Distillation(CONFIG, slimmable_spec(), make_teacher()), random_images(4)
    errors = [task.train(batch, 0.3)["dark4"][0] for _ in range(24)]
    assert np.mean(errors[-4:]) < 0.8 * np.mean(errors[:4])


def test_a_loaded_state_goes_on_as_if_nothing_had_happened():
    task, batch = Distillation(CONFIG, slimmable_spec(), make_teacher()), random_images(4)
    task.train(batch, 0.3)
    state = copy.deepcopy(task.state())
    torch.manual_seed(1)
    expected = task.train(batch, 0.6)
    other = Distillation(replace(CONFIG, seed=5), slimmable_spec(), make_teacher())
    other.load(state)
    torch.manual_seed(1)
    assert other.train(batch, 0.6) == expected


def test_statistics_that_are_not_measured_yet_cannot_be_kept():
    with pytest.raises(ConfigError, match="leave --frozen-norm out"):
        Distillation(replace(CONFIG, frozen_norm=True), slimmable_spec(), make_teacher())


def trained_bundle(folder: Path, **changes: object) -> Path:
    """Run `distill` for two steps on four images; returns the bundle's folder."""
    for name in ("images", "teacher"):
        (folder / name).mkdir()
    write_random_images(folder / "images", 4, 72, 96)
    names = tuple(f"class {i}" for i in range(CLASSES))
    (folder / "classes.json").write_text(json.dumps(annotations(names)))
    write_detector(folder / "teacher", make_teacher().state_dict(), DetectorNote("yolox-nano", names, 128, "here", 7))
    settings = DistillSettings(
        teacher=folder / "teacher",
        classes=folder / "classes.json",
        images=(folder / "images",),
        run=folder / "run",
        bundle=folder / "bundle",
        encoder="slimmable",
        steps=2,
        batch_size=4,
        square=64,
        table_images=2,
        threads=1,
        device="cpu",
        finer=1,
    )
    train_split(replace(settings, **changes))
    return folder / "bundle"


def test_a_training_ends_in_a_bundle_whose_frames_are_decoded(tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "slimmable", replace(SLIMMABLE, prices=(4.0, 0.4), decoder=DECODER))
    monkeypatch.setattr(distill_run, "STATISTICS_BATCHES", 2)
    folder = trained_bundle(tmp_path, shares=(43, 100))
    device, server = load_device(folder), load_server(folder)
    canvas = random_images(1, 96, 128)[0]
    for width, quality in ((1, 0), (2, 1)):
        symbols = device.encoder.encode(canvas, width, quality)
        header, received = server.codec.decompress(device.codec.compress(symbols, width, quality))
        np.testing.assert_array_equal(received, symbols)
        raw = server.half(server.half.dequantise(received, header.width, header.quality)[None])
        assert torch.isfinite(raw).all()
        assert np.any(symbols[24:] != 0) == (quality == 1)
    assert device.manifest.encoder == SlimmableSpec((43, 100), quality_shares=(50, 100))


def test_a_point_trained_alone_makes_a_bundle_of_one_width_and_one_quality(tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "slimmable", replace(SLIMMABLE, decoder=DECODER))
    monkeypatch.setattr(distill_run, "STATISTICS_BATCHES", 1)
    device = load_device(trained_bundle(tmp_path, only=(1, 3)))
    assert (device.manifest.widths, device.manifest.qualities) == (1, 1)
    slimmable = DeviceHalf(SharedEncoder(SlimmableSpec()), torch.ones(1, 1, 48))
    assert device.encoder.mmacs(1, 96, 128) == slimmable.mmacs(1, 96, 128)


def test_a_batch_of_several_widths_teaches_through_the_whole_student():
    student = Student(slimmable_spec())
    student.take_tail(make_teacher())
    canvas = torch.from_numpy(random_images(4)).permute(0, 3, 1, 2).float()
    widths, qualities = sandwich_operating_points(4, 3, 2, torch.Generator().manual_seed(0))
    outputs, quantised = student(canvas, SQUARE, widths, qualities, True)
    (outputs["p3"].square().mean() + quantised.bits.mean()).backward()
    for name, parameter in student.encoder.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    assert student.encoder.projection.grad.abs().sum() > 0
