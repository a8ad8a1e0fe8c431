"""A front begins as a training-free split, with grey where nothing was sent, and is trained from there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from splitnet.bundle import load_device, load_server
from splitnet.errors import ConfigError
from splitnet.manifest import Manifest
from splitnet.nn.split_detector import image_input
from splitnet.nn.yolox.network import YOLOX
from splitnet.operating_point import Codec, OperatingPoint
from tests.support.tiny_student import (
    CLASSES,
    DECODER,
    FRONT,
    SQUARE,
    front_spec,
    make_teacher,
    random_images,
    student_spec,
    write_random_images,
)
from training.data.crops import on_grey_square
from training.distillation.export import export_bundle, refined
from training.distillation.front_start import FIRST_STEP, LAST_STEP, start_front
from training.distillation.recipe import ENSEMBLE
from training.distillation.recipe import FRONT as RECIPE
from training.distillation.student import Student
from training.distillation.task import Distillation, DistillConfig
from training.evaluation.systems import SplitSystem

INPUT_SIZE = 128
WIDE = replace(FRONT, latent_channels=256)  # of 64 channels in patches of 2x2: nothing is left out
CPU = torch.device("cpu")
CONFIG = DistillConfig(SQUARE, replace(RECIPE, prices=(2.0, 0.2)))


@pytest.fixture(scope="module")
def image_paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_random_images(tmp_path_factory.mktemp("images"), 8, 120, 160)


@pytest.fixture(scope="module")
def teacher() -> YOLOX:
    return make_teacher()


def distillation(config: DistillConfig, teacher: YOLOX, image_paths: list[Path]) -> Distillation:
    """Return a distillation whose front begins as it should."""
    return Distillation(
        config,
        front_spec(),
        teacher,
        lambda student, detector: start_front(student, detector, image_paths, INPUT_SIZE),
    )


def begun(teacher: YOLOX, image_paths: list[Path], spec=FRONT) -> Student:
    torch.manual_seed(0)
    student = Student(replace(front_spec(), encoder=spec))
    start_front(student, teacher, image_paths, INPUT_SIZE)
    torch.nn.init.zeros_(student.decoder.branches["dark3"][-1].weight)
    torch.nn.init.zeros_(student.decoder.branches["dark3"][-1].bias)
    torch.nn.init.zeros_(student.encoder.analysis.out.bias)
    return student.eval()


@torch.no_grad()
def error(student: Student, teacher: YOLOX) -> float:
    canvas, _ = on_grey_square(random_images(4, INPUT_SIZE, INPUT_SIZE), INPUT_SIZE, CPU)
    features = student.encoder.features(canvas)
    difference = student.decoder(student.encoder(canvas))["dark3"] - features
    return float(difference.square().mean() / features.var())


def test_without_rounding_all_coefficients_give_the_features_back(teacher, image_paths):
    assert error(begun(teacher, image_paths, WIDE), teacher) < 1e-6


def test_the_strongest_coefficients_come_nearer_than_the_mean(teacher, image_paths):
    assert error(begun(teacher, image_paths), teacher) < 0.7


@torch.no_grad()
def test_grey_is_a_latent_of_zeros(teacher, image_paths):
    latent = begun(teacher, image_paths).encoder(torch.full((1, 3, 224, 224), 114.0))
    assert float(latent[:, :, 4:10, 4:10].abs().max()) < 1e-4  # away from the borders, which see zeros


@torch.no_grad()
def test_where_nothing_was_sent_the_decoder_says_grey(teacher, image_paths):
    student = begun(teacher, image_paths)
    grey = student.encoder.features(torch.full((1, 3, 224, 224), 114.0))[0, :, 14, 14]
    nothing = student.decoder(torch.zeros(1, FRONT.latent_channels, 4, 4))["dark3"]
    torch.testing.assert_close(nothing[0, :, 3, 3], grey, atol=1e-5, rtol=1e-4)


def test_steps_fall_from_quality_to_quality(teacher, image_paths):
    gains, inverse = begun(teacher, image_paths).quantiser.gains()
    np.testing.assert_allclose(gains[0, :, 0], [1 / FIRST_STEP, 1 / LAST_STEP], rtol=1e-5)
    assert bool((inverse > 0).all())


def test_the_tail_and_the_stages_are_the_detectors_and_stay(teacher, image_paths):
    task = distillation(CONFIG, teacher, image_paths)
    before = {name: value.clone() for name, value in task.student.encoder.state_dict().items()}
    task.train(random_images(2), 0.3)
    after = task.student.encoder.state_dict()
    own = teacher.backbone.backbone.dark2.state_dict()["0.dconv.conv.weight"]
    assert torch.equal(after["stages.dark2.0.dconv.conv.weight"], own)
    assert all(torch.equal(after[name], before[name]) for name in after if name.startswith("stages."))
    assert not torch.equal(after["analysis.linear.weight"], before["analysis.linear.weight"])
    assert not torch.equal(after["analysis.reduce.weight"], before["analysis.reduce.weight"])


def test_the_stages_learn_only_where_that_is_asked_for(teacher, image_paths):
    task = distillation(replace(CONFIG, train_front=True), teacher, image_paths)
    before = task.student.encoder.stages["stem"].conv.weight.detach().clone()
    task.train(random_images(2), 0.3)
    moved = (task.student.encoder.stages["stem"].conv.weight.detach() - before).abs().max()
    assert 0 < float(moved) <= 1.1 * RECIPE.front_rate
    assert not any(parameter.requires_grad for parameter in task.teacher.parameters())


def test_a_run_that_trains_more_than_the_one_before_begins_with_its_weights(teacher):
    before, after = (Distillation(replace(CONFIG, train_front=on), front_spec(), teacher) for on in (False, True))
    before.train(random_images(2), 0.3)
    after.load(before.state())
    for name, value in before.student.state_dict().items():
        assert torch.equal(value, after.student.state_dict()[name])
    assert not after.adam.state
    assert after.muon.state  # the same parameters: it goes on


def test_an_ensemble_has_no_stages_to_train(teacher):
    with pytest.raises(ConfigError, match="kind front"):
        Distillation(
            DistillConfig(SQUARE, replace(ENSEMBLE, prices=(2.0, 0.2)), train_front=True), student_spec(), teacher
        )


def test_the_average_begins_where_the_student_begins(teacher, image_paths):
    task = distillation(CONFIG, teacher, image_paths)
    for name, value in task.result().state_dict().items():
        torch.testing.assert_close(value, task.student.state_dict()[name])


def test_training_goes_down_from_there(teacher, image_paths):
    task = distillation(DistillConfig(SQUARE, replace(RECIPE, prices=(0.0, 0.0))), teacher, image_paths)
    errors = [task.train(random_images(2), 0.3)["dark4"][0] for _ in range(30)]
    assert np.mean(errors[-4:]) < 0.8 * np.mean(errors[:4])


def test_without_a_readable_image_there_is_no_beginning(teacher, tmp_path):
    with pytest.raises(ConfigError, match="none of 1 images can be read"):
        start_front(Student(front_spec()), teacher, [tmp_path / "absent.png"], INPUT_SIZE)


@pytest.fixture(scope="module")
def bundle(teacher, image_paths, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    names = tuple(f"class {i}" for i in range(CLASSES))
    manifest = Manifest("front", "yolox-nano", "dark3", INPUT_SIZE, names, 3, FRONT, DECODER, {})
    student = begun(teacher, image_paths)
    student.take_tail(teacher)
    export_bundle(folder, manifest, student, teacher, image_paths)
    return folder


def test_a_bundle_has_qualities_between_the_trained_ones(bundle):
    device = load_device(bundle)
    assert (device.encoder.widths, device.encoder.qualities) == (2, 3)
    canvas = cv2.resize(random_images(1)[0], (INPUT_SIZE, INPUT_SIZE))
    sizes = [len(device.codec.compress(device.encoder.encode(canvas, 2, q), 2, q)) for q in range(3)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2]


@pytest.mark.parametrize(("width", "side"), [(1, 64), (2, 128)])
@torch.inference_mode()
def test_a_width_is_a_size_of_the_image_and_the_server_need_not_know(bundle, width, side):
    device, server = load_device(bundle), load_server(bundle)
    system = SplitSystem(device, server, OperatingPoint(Codec.RANS, width, 2))
    frame = random_images(1, 120, 160)[0]
    box = system.fit(160, 120)
    payload = system.compress(frame, box)
    _, symbols = server.codec.decompress(payload)
    assert symbols.shape == (FRONT.latent_channels, side * 3 // 64, side // 16)
    assert system.raw(payload, box).shape == (1, 16**2 + 8**2 + 4**2, 5 + CLASSES)


@torch.inference_mode()
def test_what_a_small_image_leaves_free_is_grey(bundle, teacher):
    server = load_server(bundle).half
    nothing = server.decoder(torch.zeros(1, FRONT.latent_channels, 8, 8))["dark3"]
    grey = teacher.trace({"image": image_input(np.full((64, 64, 3), 114, np.uint8), INPUT_SIZE)[None]})["dark3"]
    torch.testing.assert_close(nothing[0, :, 8, 8], grey[0, :, 8, 8], atol=2e-2, rtol=2e-2)


def test_gains_between_trained_ones_are_their_geometric_means():
    gains = torch.tensor([[[1.0, 2.0], [4.0, 8.0], [16.0, 8.0]]])
    expected = [[1.0, 2.0], [2.0, 4.0], [4.0, 8.0], [8.0, 8.0], [16.0, 8.0]]
    for width in refined(gains, 2, 5):
        torch.testing.assert_close(width, torch.tensor(expected))


def test_as_many_qualities_as_were_trained_are_the_trained_ones():
    gains = torch.rand(3, 4, 5) + 0.1
    torch.testing.assert_close(refined(gains, 3, 4), gains)


@pytest.mark.parametrize(("trained", "wanted"), [(3, 4), (3, 2), (1, 3)])
def test_qualities_that_do_not_lie_between_trained_ones_are_refused(trained, wanted):
    with pytest.raises(ConfigError, match=f"{wanted} qualities do not lie evenly between {trained}"):
        refined(torch.ones(1, trained, 2), 1, wanted)
