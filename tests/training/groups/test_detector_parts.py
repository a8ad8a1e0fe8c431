"""A split detector shared out among the devices of a group, on a tiny bundle."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from splitnet.bundle import load_device
from splitnet.groups.group_bundle import load_group_server, load_part
from splitnet.groups.part_kinds import DEVIATION, ThinFrontSpec
from splitnet.letterbox import PADDING_VALUE
from tests.support.tiny_student import random_images, write_random_images
from training.groups.detector_parts import GroupDetectorSettings, PartsPlan, make_group, plan_of, solve_last
from training.groups.front_samples import FrontSamples, front_samples
from training.groups.thin_part import TrainedThinFront

SPEC = ThinFrontSpec(3, stem=4, middle=6, wide=8, kernel=3)


def test_folding_away_the_normalisation_changes_nothing():
    torch.manual_seed(0)
    trained = TrainedThinFront(SPEC)
    for module in trained.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(0.5, 2.0)
            module.bias.data.normal_()
    trained.eval()
    gain, mean = torch.tensor([0.1, 0.2, 0.4]), torch.tensor([1.0, 0.0, -1.0])
    image = torch.from_numpy(random_images(1)).permute(0, 3, 1, 2).float()
    halved = (torch.nn.functional.avg_pool2d(image, 2) - PADDING_VALUE) / DEVIATION
    with torch.inference_mode():
        expected = (trained(halved) + mean[:, None, None]) / gain[:, None, None]
        assert torch.allclose(trained.folded(gain, mean)(image), expected, atol=1e-3)


def test_channels_are_dealt_out_so_that_parts_vary_about_equally():
    latents = np.random.default_rng(0).normal(size=(64, 8, 4, 4)) * np.arange(1, 9)[:, None, None]
    plan = plan_of(FrontSamples(np.zeros((64, 3, 8, 8), np.uint8), latents.astype(np.float16)), torch.ones(3, 8), 2)
    assert plan.channels == ((0, 3, 4, 7), (1, 2, 5, 6))


def test_the_last_layer_is_solved_for_what_the_others_give():
    torch.manual_seed(0)
    network = TrainedThinFront(SPEC).eval()
    images = random_images(16).transpose(0, 3, 1, 2)[:, :, ::2, ::2].copy()
    wanted = TrainedThinFront(SPEC).eval()
    wanted.load_state_dict(network.state_dict())
    torch.nn.init.normal_(wanted.out.weight)
    batch = (torch.from_numpy(images).float() - PADDING_VALUE) / DEVIATION
    with torch.inference_mode():
        latents = wanted(batch).numpy().astype(np.float16)
    plan = PartsPlan(((0, 1, 2),), torch.ones(1, 3), torch.zeros(3), torch.ones(3))
    solve_last([network], FrontSamples(images, latents), plan)
    with torch.inference_mode():
        assert (network(batch) - torch.from_numpy(latents).float()).abs().mean() < 0.05 * np.abs(latents).mean()


@pytest.fixture(scope="module")
def made(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> GroupDetectorSettings:
    folder = tmp_path_factory.mktemp("group_detector")
    (folder / "images").mkdir()
    write_random_images(folder / "images", 4, 64, 64)
    settings = GroupDetectorSettings(
        tiny_bundle, [folder / "images"], folder / "run", folder / "group", parts=3, minutes=0.001, batch_size=2
    )
    settings = replace(settings, stem=4, middle=6, wide=8)
    assert make_group(settings).startswith(f"wrote {folder / 'group'} (")
    return settings


def test_a_group_is_made_whose_server_half_is_that_of_the_bundle(made, tiny_bundle):
    server = load_group_server(made.out)
    assert (server.manifest.name, server.manifest.parts, server.manifest.task) == ("group", 3, "detection")
    assert server.manifest.class_names == load_device(tiny_bundle).manifest.class_names
    assert sorted(chain.from_iterable(server.manifest.server["channels"])) == list(range(12))
    image = random_images(1)[0]
    frame = {}
    for number in range(1, 4):
        part = load_part(made.out, number, 3)
        symbols = part.encoder.encode(image, 1, 1)
        decoded = server.codecs[number - 1].decode(part.codec.compress(symbols, 1, 1))
        assert (decoded.symbols == symbols).all()
        frame[number] = decoded
    assert len(server.half.answers([frame, {1: frame[1]}])) == 2


def test_a_run_that_is_done_is_not_trained_again(made):
    before = (made.run / "parts.pt").stat().st_mtime_ns
    make_group(made)
    assert (made.run / "parts.pt").stat().st_mtime_ns == before


def test_samples_of_other_images_are_made_anew(made, tiny_bundle, tmp_path):
    device = load_device(tiny_bundle)
    (path,) = write_random_images(tmp_path, 1, 48, 64)
    samples = front_samples(tmp_path / "run", device, [path])
    assert samples.images.shape == (1, 3, 32, 32) and samples.latents.shape == (1, 12, 4, 4)
    images, latents = samples.batch(np.array([0]))
    assert images[0, :, 24:].abs().max() == 0  # grey below the image
    assert len(front_samples(tmp_path / "run", device, [path, path]).images) == 2
    assert latents.dtype == torch.float32
