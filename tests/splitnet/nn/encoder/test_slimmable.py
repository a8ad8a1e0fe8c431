"""The slimmable encoder: leading slices are whole networks, and what is stored and run is what was trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from splitnet.errors import BundleError, ConfigError
from splitnet.manifest import Manifest, load_manifest
from splitnet.nn.encoder.ensemble import EnsembleEncoder, EnsembleSpec, GroupedConv, PlainEncoder, trunk
from splitnet.nn.encoder.slimmable import SharedEncoder, SlimmableSpec, leading
from splitnet.nn.macs import count_macs
from splitnet.nn.onnx_network import OnnxNetwork
from splitnet.nn.split_detector import DeviceHalf
from tests.support.tiny_student import DECODER, SLIMMABLE
from training.distillation.slimmable import EPS, SlimmableConv, SlimmableEncoder, measure_statistics

SLICED = replace(SLIMMABLE, latent_shares=(40, 70, 100))
MEMBER_MMACS = 45.7  # of the ensemble's member, on a canvas of 416 x 416


def encoder_of(spec: SlimmableSpec = SLIMMABLE) -> SlimmableEncoder:
    """Return an encoder whose statistics, scales and shifts say something, in evaluation mode."""
    torch.manual_seed(0)
    encoder = SlimmableEncoder(spec)
    torch.nn.init.normal_(encoder.bias)
    for layer in encoder.layers:
        for tensor in (layer.scale.data, layer.variances):
            tensor.uniform_(0.5, 2.0)
        for tensor in (layer.shift.data, layer.means):
            tensor.normal_()
    return encoder.eval()


def image_of(count: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 48, 80), generator=torch.Generator().manual_seed(0)).float()


@torch.no_grad()
def cut_out(encoder: SlimmableEncoder, width: int) -> EnsembleEncoder:
    """Return an ensemble of one whose weights are the leading ones of a slimmable encoder, sliced by hand."""
    spec = encoder.spec.at(width)
    alone = EnsembleEncoder(spec)
    for wide, narrow in zip(encoder.layers, alone.layers, strict=True):
        assert isinstance(wide, SlimmableConv) and isinstance(narrow, GroupedConv)
        n, fan_in = narrow.weight.shape[:2]
        narrow.weight.copy_(wide.weight[:n, :fan_in])
        narrow.bn.weight.copy_(wide.scale[:n])
        narrow.bn.bias.copy_(wide.shift[:n])
        narrow.bn.running_mean.copy_(wide.means[width - 1, :n])
        narrow.bn.running_var.copy_(wide.variances[width - 1, :n])
        assert narrow.bn.eps == EPS
    alone.projection.copy_(encoder.projection[None, : spec.latent_channels, : spec.channels, 0, 0])
    alone.bias.copy_(encoder.bias[width - 1 : width, : spec.latent_channels])
    return alone.eval()


@pytest.mark.parametrize("width", [1, 2, 3])
@torch.no_grad()
def test_the_leading_channels_are_a_narrower_network_built_by_itself(width):
    encoder, image = encoder_of(), image_of()
    alone = cut_out(encoder, width)
    x, layers = (image - 114.0) / 64.0, len(alone.layers)
    leading_part = trunk(layers, x, lambda i, x: encoder.layers[i](x, width), F.relu)
    assert torch.equal(leading_part, trunk(layers, x, lambda i, x: alone.layers[i](x, 1), F.relu))
    torch.testing.assert_close(encoder(image, width), alone(image, 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [1, 2, 3])
@torch.no_grad()
def test_in_training_a_width_learns_what_a_network_of_its_own_would(width):
    encoder = encoder_of().train()
    alone = cut_out(encoder, width).train()
    torch.testing.assert_close(encoder(image_of(), width), alone(image_of(), 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("spec", [SLIMMABLE, SLICED], ids=["whole latent", "sliced latent"])
@pytest.mark.parametrize("width", [1, 2, 3])
@torch.no_grad()
def test_what_is_stored_once_runs_as_every_width(spec, width):
    encoder, image = encoder_of(spec), image_of()
    trained, plain = encoder(image, width), encoder.shared().narrow(width)(image)
    assert plain.shape == trained.shape == (2, spec.latent_channels, 3, 5)
    scale = trained.abs().max()
    torch.testing.assert_close(plain / scale, trained / scale, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_width_that_fills_half_of_the_latent_leaves_the_rest_zero_and_costs_less():
    image = image_of(1)
    sliced, whole = encoder_of(SLICED).shared().narrow(1), encoder_of().shared().narrow(1)
    filled = leading(SLICED.latent_channels, 40)
    latent = sliced(image)
    assert filled == 3
    assert torch.all(latent[:, :filled].abs().sum(dim=(0, 2, 3)) > 0)
    assert torch.all(latent[:, filled:] == 0)
    spared = (SLICED.latent_channels - filled) * SLIMMABLE.at(1).channels * latent[0, 0].numel()
    assert count_macs(whole, lambda: whole(image)) - count_macs(sliced, lambda: sliced(image)) == spared


def test_a_width_runs_as_a_plain_network_and_a_change_of_width_chooses_another():
    half = DeviceHalf(encoder_of().shared(), torch.ones(3, 2, SLIMMABLE.latent_channels))
    assert half.widths == 3
    canvas = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    first = half.encode(canvas, 1, 0)
    assert not np.array_equal(half.encode(canvas, 3, 0), first)
    assert np.array_equal(half.encode(canvas, 1, 0), first)
    assert isinstance(encoder_of().shared().narrow(2), PlainEncoder)


def test_the_convolutions_are_stored_once():
    shared = encoder_of().shared()
    stored = sum(tensor.numel() for tensor in shared.state_dict().values())
    networks = sum(SLIMMABLE.at(width).parameters for width in (1, 2, 3))
    assert stored < 0.8 * networks
    assert shared.layers[0].weight.shape == (SLIMMABLE.stem_channels, 3, 4, 4)
    assert shared.layers[0].scale.shape == (3, SLIMMABLE.stem_channels)


def test_the_usual_widths_cost_what_an_ensembles_do():
    spec = SlimmableSpec()
    half = DeviceHalf(SharedEncoder(spec), torch.ones(4, 1, 48))
    costs = [half.mmacs(width, 416, 416) for width in (1, 2, 3, 4)]
    assert [round(cost / MEMBER_MMACS, 2) for cost in costs] == [1.0, 2.01, 2.95, 4.06]
    assert costs[3] >= 4 * costs[0]
    member = EnsembleSpec()
    assert [spec.at(1), spec.latent_channels] == [replace(member, members=1), member.latent_channels]
    assert all(size % 8 == 0 for w in (1, 2, 3, 4) for size in (spec.at(w).stem_channels, spec.at(w).channels))


def test_one_batch_can_hold_many_widths():
    encoder, image = encoder_of(), image_of(4)
    with torch.no_grad():
        mixed = encoder.latents(image, torch.tensor([3, 1, 2, 1]))
        for i, width in enumerate((3, 1, 2, 1)):
            torch.testing.assert_close(mixed[i : i + 1], encoder(image[i : i + 1], width), rtol=1e-4, atol=1e-4)


def test_pictures_of_one_width_share_their_statistics_in_training_and_leave_the_others_alone():
    encoder, image = encoder_of().train(), image_of(4)
    with torch.no_grad():
        mixed = encoder.latents(image, torch.tensor([3, 1, 3, 1]))
        torch.testing.assert_close(mixed[[1, 3]], encoder(image[[1, 3]], 1))
        torch.testing.assert_close(mixed[[0, 2]], encoder(image[[0, 2]], 3))


def test_every_width_teaches_the_leading_channels_and_none_beyond_its_own():
    encoder = encoder_of().train()
    encoder(image_of(), 1).square().mean().backward()
    n = SLIMMABLE.at(1).channels
    gradient = encoder.layers[-1].weight.grad
    assert gradient[:n, :n].abs().sum() > 0
    assert gradient[n:].abs().sum() == gradient[:, n:].abs().sum() == 0
    assert encoder.bias.grad[1:].abs().sum() == 0


@torch.no_grad()
def test_statistics_are_those_of_all_pictures_exactly():
    encoder = SlimmableEncoder(SLIMMABLE)
    batches = [image_of(2), 255 - image_of(3)[:, :, :32]]
    measure_statistics(encoder, batches)
    for width in (1, 2, 3):
        stem = encoder.layers[0]
        n = SLIMMABLE.at(width).stem_channels
        outputs = [stem.convolve((batch.double() - 114).float() / 64, width) for batch in batches]
        values = torch.cat([y.double().transpose(0, 1).flatten(1) for y in outputs], dim=1)
        torch.testing.assert_close(stem.means[width - 1, :n], values.mean(dim=1).float())
        torch.testing.assert_close(stem.variances[width - 1, :n], values.var(dim=1, unbiased=False).float())
    assert not encoder.training


@torch.no_grad()
def test_on_the_pictures_of_its_statistics_evaluation_says_what_training_said():
    encoder, image = SlimmableEncoder(SLIMMABLE), image_of(4)
    trained = [encoder.train()(image, width) for width in (1, 2, 3)]
    measure_statistics(encoder, [image])
    for width, expected in enumerate(trained, start=1):
        torch.testing.assert_close(encoder(image, width), expected, rtol=1e-3, atol=1e-3)


def test_statistics_differ_from_width_to_width():
    encoder = SlimmableEncoder(SLIMMABLE)
    measure_statistics(encoder, [image_of(2)])
    n = SLIMMABLE.at(1).channels
    pointwise = encoder.layers[-1]
    assert not torch.allclose(pointwise.variances[0, :n], pointwise.variances[2, :n], rtol=0.05)


def test_statistics_of_nothing_are_refused():
    with pytest.raises(ConfigError, match="no images"):
        measure_statistics(SlimmableEncoder(SLIMMABLE), [])


def test_a_width_alone_is_a_network_of_its_size():
    alone = SLICED.alone(2)
    assert alone.widths == 1
    assert alone.at(1) == SLICED.at(2)
    assert SLIMMABLE.alone(3) == replace(SLIMMABLE, shares=(100,))


@pytest.mark.parametrize("width", [0, 4, -1])
def test_a_width_that_is_not_there_is_refused(width):
    with pytest.raises(ConfigError, match=rf"width {width} is not in 1\.\.3"):
        encoder_of().shared().narrow(width)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shares": ()}, "last one 100"),
        ({"shares": (50,)}, "last one 100"),
        ({"shares": (0, 100)}, "must be percentages"),
        ({"shares": (50, 50, 100)}, "must rise"),
        ({"shares": (80, 50, 100)}, "must rise"),
        ({"shares": tuple(range(1, 101))}, "at most 64"),
        ({"latent_shares": (50, 100)}, "2 shares of the latent for 3 widths"),
        ({"latent_shares": (50, 101, 100)}, "percentages"),
        ({"quality_shares": (50, 60)}, "last one 100"),
        ({"quality_shares": (100,) * 65}, "at most 64"),
        ({"channels": 20}, "channels is 20, must be a multiple of 8"),
        ({"stem_channels": 0}, "stem_channels is 0"),
        ({"mid_channels": -8}, "mid_channels is -8"),
        ({"channels": 2048}, "channels is 2048"),
        ({"blocks": 0}, "blocks is 0"),
        ({"blocks": 5000}, "blocks is 5000"),
        ({"latent_channels": 0}, "latent_channels is 0"),
        ({"latent_channels": 5000}, "latent_channels is 5000"),
        ({"channels": 1024, "blocks": 15}, "weights in all widths"),
    ],
)
def test_a_bad_spec_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(SLIMMABLE, **change)


def manifest_of(spec: SlimmableSpec = SLICED) -> Manifest:
    return Manifest("slim", "yolox-nano", "dark3", 128, ("cat", "dog"), 3, spec, DECODER, {})


def test_a_manifest_survives_the_disk(tmp_path: Path):
    manifest = manifest_of()
    manifest.write(tmp_path)
    assert load_manifest(tmp_path) == manifest
    assert (manifest.widths, manifest.sides, manifest.encoder.kind) == (3, (128, 128, 128), "slimmable")
    assert isinstance(manifest.encoder.make("yolox-nano", "dark3"), SharedEncoder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shares", None),
        ("shares", 100),
        ("shares", "100"),
        ("shares", [True, 100]),
        ("shares", [49.5, 100]),
        ("shares", list(range(1, 101))),
        ("shares", [10**30, 100]),
        ("latent_shares", {"1": 2}),
        ("quality_shares", [100] * 100_000),
        ("channels", "16"),
        ("channels", 10**9),
        ("blocks", 1e3),
        ("latent_channels", -1),
        ("latent_channels", 10**12),
    ],
)
def test_a_hostile_manifest_is_refused_before_memory_is_taken(tmp_path: Path, name, value):
    manifest_of().write(tmp_path)
    path = tmp_path / "manifest.json"
    values = json.loads(path.read_text())
    values["encoder"][name] = value
    path.write_text(json.dumps(values))
    with pytest.raises(BundleError, match=r"manifest\.json: "):
        load_manifest(tmp_path)


@pytest.mark.parametrize("name", ["shares", "latent_shares", "channels", "blocks"])
def test_a_manifest_that_lacks_a_field_is_refused(tmp_path: Path, name):
    manifest_of().write(tmp_path)
    path = tmp_path / "manifest.json"
    values = json.loads(path.read_text())
    del values["encoder"][name]
    path.write_text(json.dumps(values))
    with pytest.raises(BundleError, match=f"'{name}' is missing"):
        load_manifest(tmp_path)


@pytest.mark.parametrize("spec", [SLIMMABLE, SLICED], ids=["whole latent", "sliced latent"])
@pytest.mark.parametrize("width", [1, 3])
def test_onnx_says_what_the_plain_network_says(spec, width):
    pytest.importorskip("onnxruntime")
    network = encoder_of(spec).shared().narrow(width)
    canvas = np.random.default_rng(1).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    found = OnnxNetwork(network, spec.latent_channels, threads=1)(canvas)
    with torch.inference_mode():
        expected = network(torch.from_numpy(canvas).permute(2, 0, 1)[None].float())[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
