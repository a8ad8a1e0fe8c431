"""Another server half for the devices of a bundle: how its training begins, and what is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from splitnet.bundle import load_device, load_server
from splitnet.errors import ConfigError
from splitnet.manifest import ENCODER_FILE, Manifest, load_manifest
from splitnet.nn.yolox.network import YOLOX
from tests.support.labelled_images import annotations
from tests.support.tiny_bundle import write_tiny_bundle
from tests.support.tiny_student import CLASSES, DECODER, FRONT, front_spec, make_teacher, write_random_images
from training.data.images import read_image
from training.detectors.detector_file import DetectorNote, write_detector
from training.distill import train_split
from training.distillation.completion import start_completion
from training.distillation.export import export_bundle
from training.distillation.front_start import start_front
from training.distillation.plan import student_spec
from training.distillation.settings import DistillSettings
from training.distillation.student import Student, StudentSpec

INPUT_SIZE = 128
NAMES = tuple(f"class {i}" for i in range(CLASSES))
SPEC = StudentSpec("yolox-tiny", CLASSES, "dark3", 2, FRONT, DECODER, kept_front=("yolox-nano", "dark3"))


@pytest.fixture(scope="module")
def image_paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_random_images(tmp_path_factory.mktemp("images"), 4, 96, 128)


@pytest.fixture(scope="module")
def bundle(image_paths: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a front of a nano, begun but not trained."""
    teacher = make_teacher(1)
    student = Student(front_spec())
    student.take_tail(teacher)
    start_front(student, teacher, image_paths, INPUT_SIZE)
    folder = tmp_path_factory.mktemp("bundle")
    manifest = Manifest("front", "yolox-nano", "dark3", INPUT_SIZE, NAMES, 3, FRONT, DECODER, {}, origin="Made here.")
    export_bundle(folder, manifest, student.eval(), None, image_paths[:2])
    return folder


@pytest.fixture(scope="module")
def teacher() -> YOLOX:
    torch.manual_seed(4)
    return YOLOX("yolox-tiny", CLASSES).eval()


def begun(bundle: Path, teacher: YOLOX, image_paths: list[Path]) -> Student:
    student = Student(SPEC)
    student.take_tail(teacher)
    start_completion(student, teacher, bundle, image_paths, INPUT_SIZE)
    return student.eval()


def test_the_encoder_is_the_bundles_and_nothing_of_it_is_trained(bundle, teacher, image_paths):
    student, device = begun(bundle, teacher, image_paths), load_device(bundle)
    canvas = read_image(image_paths[0])
    latent = student.front(torch.from_numpy(canvas).permute(2, 0, 1)[None].float())[0]
    torch.testing.assert_close(latent, device.encoder.latent(canvas, 2), rtol=1e-4, atol=1e-4)
    trained = {name.split(".")[0] for name, parameter in student.named_parameters() if parameter.requires_grad}
    assert trained == {"decoder", "tail"}
    assert student.linear_parameters() == list(student.decoder.linear.parameters())


def test_the_decoder_begins_with_the_least_squares_map(bundle, teacher, image_paths):
    """No other linear map of what is sent is nearer to the detector's features: the error is orthogonal to it."""
    student = begun(bundle, teacher, image_paths)
    inner, size = torch.zeros(2, FRONT.latent_channels)
    for path in image_paths:
        image = torch.from_numpy(read_image(path)).permute(2, 0, 1)[None].float()
        gains, inverse = (each[0, -1][:, None, None] for each in student.quantiser.gains())
        sent = (student.front(image) * gains).round() * inverse
        error = student.decoder(sent)["dark3"] - teacher.trace({"image": image})["dark3"]
        pooled = torch.nn.functional.avg_pool2d(error, 2).sum(dim=1)  # of each position of the latent
        inner += (sent[0] * pooled).sum(dim=(1, 2)).detach()
        size += (sent[0] * pooled).abs().sum(dim=(1, 2)).detach()
    assert float((inner / size).abs().max()) < 0.03  # the ridge's part


def test_a_latent_of_zeros_becomes_the_features_of_grey(bundle, teacher, image_paths):
    features = begun(bundle, teacher, image_paths).decoder(torch.zeros(1, FRONT.latent_channels, 8, 8))["dark3"]
    grey = teacher.trace({"image": torch.full((1, 3, 256, 256), 114.0)})["dark3"]
    torch.testing.assert_close(features[0, :, 4, 4], grey[0, :, 16, 16], rtol=1e-4, atol=1e-4)


def settings(folder: Path, name: str, detector: str, names: tuple[str, ...] = NAMES, **more: object) -> DistillSettings:
    """Return settings of one step that distils a detector of random weights."""
    (folder / name).mkdir()
    weights = YOLOX(detector, len(names)).state_dict()
    write_detector(folder / name, weights, DetectorNote(detector, names, 64, f"The {name}.", 1))
    (folder / f"{name}.json").write_text(json.dumps(annotations(names)))
    return DistillSettings(
        teacher=folder / name,
        detector=detector,
        classes=folder / f"{name}.json",
        images=[folder / "images"],
        run=folder / f"{name}-run",
        bundle=folder / f"{name}-bundle",
        steps=1,
        batch_size=2,
        square=32,
        table_images=1,
        device="cpu",
        **more,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with images and a nano that was split: `nano-bundle`."""
    folder = tmp_path_factory.mktemp("nano")
    (folder / "images").mkdir()
    write_random_images(folder / "images", 2, 72, 96)
    train_split(settings(folder, "nano", "yolox-nano", sides=[32, 64]))
    return folder


def test_the_command_trains_a_second_half_for_the_devices_of_a_bundle(folder):
    first = folder / "nano-bundle"
    manifest = train_split(settings(folder, "tiny", "yolox-tiny", split_point="dark4", complete=first))
    assert manifest is not None
    second = load_manifest(folder / "tiny-bundle")
    assert (folder / "tiny-bundle" / ENCODER_FILE).read_bytes() == (first / ENCODER_FILE).read_bytes()
    assert second.device_digest == load_manifest(first).digest
    assert (second.detector, second.split_point, second.front) == ("yolox-tiny", "dark4", ("yolox-nano", "dark3"))
    assert second.origin == "The tiny. The device half is that of the bundle nano-bundle. The nano."
    ours, theirs = (load_server(path).half.inverse_gains for path in (folder / "tiny-bundle", first))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_front": True}, "--complete keeps the encoder: leave --train-front"),
        ({"sides": [64]}, "--complete keeps the encoder"),
        ({"input_size": 96}, "sees 64 pixels, not 96: give --input-size"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_contradicts_a_kept_device_half_is_refused(folder, tmp_path, changes, message):
    one = settings(tmp_path, "tiny", "yolox-tiny", complete=folder / "nano-bundle", **changes)
    with pytest.raises(ConfigError, match=message):
        student_spec(one, CLASSES)


def test_other_classes_are_refused_before_anything_is_trained(folder, tmp_path):
    names = ("car", *NAMES[1:])
    one = settings(tmp_path, "tiny", "yolox-tiny", names, complete=folder / "nano-bundle")
    with pytest.raises(ConfigError, match="knows other classes"):
        train_split(replace(one, images=[folder / "images"]))
    assert not one.run.exists()


def test_a_kind_that_has_no_front_is_refused(folder, tmp_path):
    write_tiny_bundle(tmp_path / "ensemble")
    one = settings(tmp_path, "tiny", "yolox-tiny", complete=tmp_path / "ensemble")
    with pytest.raises(ConfigError, match="an encoder of the kind ensemble: only a front can be completed"):
        student_spec(one, CLASSES)
