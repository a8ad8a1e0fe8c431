"""Export of a trained student to a bundle: the same symbols, tables that fit them, half the precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from splitnet.bundle import DeviceBundle, ServerBundle, load_device, load_server
from splitnet.codec.bitstream import HEADER_BYTES
from splitnet.errors import ConfigError
from splitnet.letterbox import Letterbox
from splitnet.manifest import Manifest, load_manifest
from splitnet.nn.encoder.front import FrontSpec
from splitnet.nn.split_detector import DeviceHalf, image_input
from splitnet.nn.yolox.network import YOLOX
from tests.splitnet.nn.yolox.test_network import randomise_norms
from tests.support.tiny_student import CLASSES, DECODER, ENCODER, make_teacher, student_spec, write_random_images
from training.distillation.export import export_bundle, image_latents
from training.distillation.student import Student

INPUT_SIZE = 128
POINTS = [(width, quality) for width in (1, 2) for quality in (0, 1)]
FILES = ("encoder.safetensors", "server.safetensors")


def manifest() -> Manifest:
    names = tuple(f"class {i}" for i in range(CLASSES))
    return Manifest("exported", "yolox-nano", "dark3", INPUT_SIZE, names, 2, ENCODER, DECODER, {}, licence="Apache-2.0")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_random_images(tmp_path_factory.mktemp("images"), 8, 120, 160)


@pytest.fixture(scope="module")
def teacher() -> YOLOX:
    return make_teacher()


@pytest.fixture(scope="module")
def student(teacher: YOLOX) -> Student:
    torch.manual_seed(0)
    student = Student(student_spec())
    student.take_tail(teacher)
    randomise_norms(student.encoder)
    with torch.no_grad():
        student.encoder.bias.normal_()
        for parameter in student.quantiser.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return student.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, student: Student, teacher: YOLOX, images: list[Path]) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "exported"
    export_bundle(folder, manifest(), student, teacher, images)
    return folder


@pytest.fixture(scope="module")
def device(folder: Path) -> DeviceBundle:
    return load_device(folder)


@pytest.fixture(scope="module")
def server(folder: Path) -> ServerBundle:
    return load_server(folder)


def canvas_of(path: Path) -> np.ndarray:
    photo = cv2.imread(str(path))
    return Letterbox.fit(photo.shape[1], photo.shape[0], INPUT_SIZE).apply(photo)


def batch_of(canvas: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(canvas).permute(2, 0, 1)[None].float()


@pytest.mark.parametrize(("width", "quality"), POINTS)
def test_symbols_are_those_of_the_trained_ensemble(student, device, images, width, quality):
    canvas = canvas_of(images[0])
    symbols = device.encoder.encode(canvas, width, quality)
    gains, _ = student.quantiser.gains()
    with torch.inference_mode():
        scaled = student.encoder(batch_of(canvas), width)[0] * gains[width - 1, quality, :, None, None]
    # Weights were rounded to half precision, so a value near a half may fall to either side.
    tolerance = 0.5 + 0.01 * float(scaled.abs().max())
    assert np.abs(symbols - scaled.numpy()).max() < tolerance
    assert np.mean(symbols == scaled.round().numpy()) > 0.95
    assert len(np.unique(symbols)) > 5


@pytest.mark.parametrize(("width", "quality"), POINTS)
def test_the_server_half_says_what_the_student_says(student, device, server, images, width, quality):
    canvas = canvas_of(images[1])
    symbols = device.encoder.encode(canvas, width, quality)
    _, inverse = student.quantiser.gains()
    latent = torch.zeros(1, *device.manifest.latent_size)
    scaled = torch.from_numpy(symbols).float() * inverse[width - 1, quality, :, None, None]
    latent[0, :, : symbols.shape[1], : symbols.shape[2]] = scaled
    dequantised = server.half.dequantise(symbols, width, quality)
    torch.testing.assert_close(dequantised, latent[0])
    with torch.inference_mode():
        trained, exported = student.tail.from_features(student.decoder(latent)), server.half(latent)
    assert (exported - trained).abs().max() < 0.02 * trained.abs().max()


def test_the_unsplit_detector_is_in_the_bundle(teacher, server, images):
    image = image_input(canvas_of(images[0]), INPUT_SIZE)[None]
    assert server.detector is not None
    with torch.inference_mode():
        trained, exported = teacher(image), server.detector(image)
    assert (exported - trained).abs().max() < 0.02 * trained.abs().max()


@pytest.mark.parametrize(("width", "quality"), POINTS)
def test_bitstreams_are_near_the_entropy_of_their_symbols(device, images, width, quality):
    latents = [device.encoder.encode(canvas_of(path), width, quality) for path in images]
    payload = sum(len(device.codec.compress(s, width, quality)) - HEADER_BYTES for s in latents)
    assert payload * 8 < 1.35 * empirical_bits(np.stack(latents)) + 8 * 8 * len(latents)
    ideal = sum(device.codec.model.bits(s, width, quality) for s in latents)
    assert payload * 8 < 1.01 * ideal + 8 * 8 * len(latents)


def empirical_bits(latents: np.ndarray) -> float:
    """Return the entropy of symbols (N, C, h, w) under each channel's own histogram: what no table can beat."""
    total = 0.0
    for channel in latents.transpose(1, 0, 2, 3).reshape(latents.shape[1], -1):
        _, counts = np.unique(channel, return_counts=True)
        total -= float((counts * np.log2(counts / channel.size)).sum())
    return total


def test_what_is_exported_travels_unchanged(device, server, images):
    for width, quality in POINTS:
        symbols = device.encoder.encode(canvas_of(images[2]), width, quality)
        header, received = server.codec.decompress(device.codec.compress(symbols, width, quality))
        assert (header.width, header.quality) == (width, quality)
        np.testing.assert_array_equal(received, symbols)


def test_the_manifest_says_what_was_written(folder, device):
    assert load_manifest(folder) == device.manifest
    assert device.manifest.name == "exported"
    assert set(device.manifest.files) == {*FILES, "detector.safetensors"}


def test_exporting_leaves_the_student_as_it_is(student, teacher, images, tmp_path):
    before = {name: value.clone() for name, value in student.state_dict().items()}
    export_bundle(tmp_path, manifest(), student, teacher, images[:1])
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_exporting_twice_gives_the_same_bundle(student, images, tmp_path):
    first, second = (export_bundle(tmp_path / n, manifest(), student, None, images[:1]) for n in "ab")
    assert first.digest == second.digest
    assert set(first.files) == set(FILES)
    assert load_server(tmp_path / "a").detector is None


def device_half(student: Student) -> DeviceHalf:
    return DeviceHalf(student.encoder.materialise(2), student.quantiser.gains()[0])


def test_tables_are_fitted_on_the_latents_that_devices_make(student, images):
    half = device_half(student)
    latents = image_latents(half, manifest(), images[:2])
    assert [len(of_width) for of_width in latents] == [2, 2]
    for width, (_, second) in enumerate(latents):
        torch.testing.assert_close(second, half.latent(canvas_of(images[1]), width + 1))


def test_each_width_is_fitted_on_images_of_its_own_size(student, images):
    front = FrontSpec((64, INPUT_SIZE), latent_channels=12)
    for stretches, shapes in ((False, [(3, 4), (6, 8)]), (True, [(4, 4), (8, 8)])):
        fitted = replace(manifest(), encoder=replace(front, stretches=stretches))
        latents = image_latents(device_half(student), fitted, images[:1])
        assert [tuple(of_width[0].shape[1:]) for of_width in latents] == shapes


def test_unreadable_images_are_left_out(student, images, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    latents = image_latents(device_half(student), manifest(), [broken, images[0]])
    assert [len(of_width) for of_width in latents] == [1, 1]


@pytest.mark.parametrize("count", [0, 2])
def test_without_a_readable_image_there_is_no_bundle(student, tmp_path, count):
    paths = [tmp_path / f"{i}.png" for i in range(count)]
    for path in paths:
        path.write_bytes(b"no image")
    with pytest.raises(ConfigError, match=f"none of {count} images"):
        export_bundle(tmp_path / "bundle", manifest(), student, None, paths)
    assert not (tmp_path / "bundle").exists()
