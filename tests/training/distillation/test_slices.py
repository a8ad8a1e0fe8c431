"""Slices of a detector's own stages: their order, their statistics, and what they begin with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from splitnet.bundle import load_device
from splitnet.errors import ConfigError
from splitnet.manifest import Manifest
from splitnet.nn.encoder.front import FrontEncoder
from splitnet.nn.encoder.front_ensemble import FrontEnsembleEncoder, FrontEnsembleSpec
from splitnet.nn.encoder.sliced_front import SlicedFrontEncoder, SlicedFrontSpec
from splitnet.nn.yolox.slices import leading_weights, sliced_stages
from tests.support.tiny_student import CLASSES, DECODER, FRONT, make_teacher, random_images, write_random_images
from training.distillation.channel_order import channel_groups, order_channels
from training.distillation.export import export_bundle
from training.distillation.slices import corrections, start_front_ensemble, start_sliced_front
from training.distillation.student import StudentSpec
from training.distillation.task import Distillation, DistillConfig
from training.distillation.width_groups import by_width

SLICED = SlicedFrontSpec((32, 64), latent_channels=12, channels=8, blocks=1, shares=(50, 100))
ENSEMBLE = FrontEnsembleSpec((32, 64), latent_channels=12, channels=8, blocks=1)
SPECS = pytest.mark.parametrize("spec", [SLICED, ENSEMBLE], ids=lambda spec: spec.kind)


def canvases(count: int = 3, side: int = 64) -> list[Tensor]:
    return [torch.from_numpy(image).permute(2, 0, 1)[None].float() for image in random_images(count, side, side)]


@pytest.fixture(scope="module")
def front() -> FrontEncoder:
    """A front whose stages say something, and whose residual network says nothing yet."""
    torch.manual_seed(0)
    encoder = FrontEncoder(FRONT, "yolox-nano", "dark3").eval()
    encoder.take_stages(make_teacher())
    nn.init.zeros_(encoder.analysis.out.bias)
    return encoder


def _quiet(analysis: nn.Module) -> None:
    nn.init.zeros_(analysis.get_submodule("out").bias)


def ordered(name: str, front: FrontEncoder) -> tuple[nn.Sequential, Tensor]:
    stages = sliced_stages(name, "dark3", 100)
    if name == "yolox-nano":
        stages.load_state_dict(front.stages.state_dict())
    return stages, order_channels(stages)


@pytest.mark.parametrize("name", ["yolox-nano", "yolox-tiny"])
@torch.no_grad()
def test_stages_in_order_say_the_same_in_another_order(name: str):
    torch.manual_seed(0)
    stages = sliced_stages(name, "dark3", 100).eval()
    image = canvases(1)[0] / 255
    before = stages(image)
    order = order_channels(stages)
    assert sorted(order.tolist()) == list(range(len(order)))
    assert order.tolist() != sorted(order.tolist())
    torch.testing.assert_close(stages(image), before[:, order])


@torch.no_grad()
def test_the_channel_with_the_strongest_weights_comes_first():
    stages = sliced_stages("yolox-nano", "stem", 100)
    conv = stages.get_submodule("stem.conv")
    conv.weight.fill_(1.0)
    conv.weight[5] = 3.0
    conv.weight[2] = 2.0
    order = order_channels(stages)
    assert order.tolist()[:3] == [5, 2, 0]
    assert [float(row) for row in conv.weight[:3, 0, 0, 0]] == [3.0, 2.0, 1.0]


def test_every_convolution_is_in_some_group():
    stages = sliced_stages("yolox-nano", "dark3", 100)
    rows = [name for group in channel_groups(stages) for name in group.rows]
    assert sorted(rows) == sorted(n for n, one in stages.named_modules() if isinstance(one, nn.Conv2d))


def test_a_slice_reads_the_leading_channels_of_both_branches():
    whole = {"dark2.1.conv3.conv.weight": torch.arange(8.0).reshape(1, 8, 1, 1).expand(4, 8, 1, 1)}
    found = leading_weights(whole, {"dark2.1.conv3.conv.weight": torch.Size((2, 4, 1, 1))})
    assert found["dark2.1.conv3.conv.weight"][0].flatten().tolist() == [0, 1, 4, 5]


@pytest.mark.parametrize(
    ("name", "share", "message"),
    [("nanodet-plus-m", 50, "only the stages of a YOLOX"), ("yolox-nano", 55, "55 percent of the 16 channels")],
)
def test_what_cannot_be_sliced_is_refused(name: str, share: int, message: str):
    with pytest.raises(ConfigError, match=message):
        sliced_stages(name, "dark3", share)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: replace(SLICED, shares=(50, 75)), "the last one 100"),
        (lambda: replace(SLICED, shares=(75, 50, 100)), "must rise"),
        (lambda: replace(ENSEMBLE, sides=(32, 48)), "the second twice the first"),
        (lambda: replace(ENSEMBLE, sides=(32,)), "must be two"),
        (lambda: replace(ENSEMBLE, share=0), "must be 1..100"),
    ],
)
def test_odd_shapes_are_refused(change, message: str):
    with pytest.raises(ConfigError, match=message):
        change()


@torch.no_grad()
def test_corrections_give_a_slice_the_means_and_deviations_of_the_whole(front: FrontEncoder):
    stages, _ = ordered("yolox-nano", front)
    half = sliced_stages("yolox-nano", "dark3", 50)
    half.load_state_dict(leading_weights(stages.state_dict(), {n: v.shape for n, v in half.state_dict().items()}))
    found = corrections(half, stages, canvases())
    scale, shift = found["stem.conv"]
    torch.testing.assert_close(scale, torch.ones(8), atol=1e-3, rtol=0)  # a stem's channels lack nothing
    torch.testing.assert_close(shift, torch.zeros(8), atol=0.1, rtol=0)
    assert len(found["dark3.1.conv3.conv"][0]) == 32
    assert all(torch.isfinite(torch.cat(both)).all() for both in found.values())


@torch.no_grad()
def test_a_sliced_front_begins_as_the_whole_one_and_its_slices_near_it(front: FrontEncoder):
    torch.manual_seed(0)
    encoder = SlicedFrontEncoder(SLICED, "yolox-nano", "dark3").eval()
    for analysis in encoder.analyses:
        _quiet(analysis)
    images = canvases()
    start_sliced_front(encoder, front, images)
    wanted = torch.cat([front(image) for image in images])
    torch.testing.assert_close(torch.cat([encoder(image) for image in images]), wanted, rtol=1e-3, atol=1e-2)
    half = torch.cat([encoder.latent(image, 0) for image in images])
    assert float((half - wanted).square().mean()) < 0.5 * float(wanted.var())
    torch.testing.assert_close(encoder.narrow(1)(images[0]), half[:1], rtol=1e-4, atol=1e-3)
    assert encoder.narrow(1) is encoder.narrow(3)  # the same share at another side


@torch.no_grad()
def test_the_second_member_adds_what_the_first_one_lacks(front: FrontEncoder):
    torch.manual_seed(0)
    encoder = FrontEnsembleEncoder(ENSEMBLE, "yolox-nano", "dark3").eval()
    _quiet(encoder.first.analysis)
    _quiet(encoder.second.analysis)
    images = canvases()
    start_front_ensemble(encoder, front, images)
    torch.testing.assert_close(encoder.narrow(1)(images[0]), front(images[0]), rtol=1e-3, atol=1e-2)
    wanted = torch.cat([front(image) for image in images])
    both, coarse = torch.cat([encoder(image) for image in images]), torch.cat([encoder.coarse(i) for i in images])
    assert float((both - wanted).square().mean()) < 0.5 * float((coarse[..., :4, :4] - wanted).square().mean())


@pytest.mark.parametrize("sides", [(48, 64), (80, 48), (64, 64)])
@torch.no_grad()
def test_both_members_cover_a_canvas_of_any_sides(sides: tuple[int, int]):
    encoder = FrontEnsembleEncoder(ENSEMBLE, "yolox-nano", "dark3").eval()
    assert encoder(torch.zeros(1, 3, *sides)).shape == (1, 12, sides[0] // 16, sides[1] // 16)


def test_a_batch_runs_width_by_width_and_keeps_its_order():
    calls: list[tuple[list[float], int]] = []

    def network(images: Tensor, width: int) -> Tensor:
        calls.append((images.tolist(), width))
        return images * width

    found = by_width(network, torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([2, 1, 2, 1]))
    assert found.tolist() == [2.0, 2.0, 6.0, 4.0]
    assert calls == [([2.0, 4.0], 1), ([1.0, 3.0], 2)]


@SPECS
def test_slices_learn_and_a_bundle_holds_what_was_learnt(spec: SlicedFrontSpec, tmp_path):
    student = StudentSpec("yolox-nano", CLASSES, qualities=2, encoder=spec, decoder=DECODER)
    recipe = replace(DistillConfig().recipe, prices=(1.0, 0.1))
    task = Distillation(DistillConfig(square=64, recipe=recipe), student, make_teacher())
    before = [parameter.clone() for parameter in task.student.encoder.parameters()]
    for step in range(2):
        task.train(random_images(4), 0.5 + step / 4)
    changed = [not torch.equal(a, b) for a, b in zip(before, task.student.encoder.parameters(), strict=True)]
    assert all(changed)
    names = tuple(map(str, range(CLASSES)))
    manifest = Manifest("sliced", "yolox-nano", "dark3", 64, names, 3, spec, DECODER, {})
    paths = write_random_images(tmp_path, 2, 64, 64)
    export_bundle(tmp_path / "sliced", manifest, task.result(), None, paths)
    device = load_device(tmp_path / "sliced").encoder
    for width, side in enumerate(spec.canvas_sides(64), start=1):
        assert device.encode(np.full((side, side, 3), 90, np.uint8), width, 1).shape == (12, side // 16, side // 16)
