"""Bundles: what is stored comes back, and whatever is wrong with one is said in a line."""

import hashlib
import json
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from splitnet import bundle as bundle_module
from splitnet.bundle import load_device, load_server
from splitnet.errors import BundleError, DigestMismatchError
from splitnet.manifest import DETECTOR_FILE, ENCODER_FILE, FILE_NAME, SERVER_FILE, Accuracy, FileEntry, load_manifest
from splitnet.measured_point import MeasuredPoint
from splitnet.nn.split_detector import image_input
from splitnet.operating_point import Codec, Mode
from tests.support.tiny_bundle import CHANNELS, CLASSES, INPUT_SIZE, QUALITIES, WIDTHS, write_tiny_bundle


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


def test_a_device_loads_without_the_server_half(copy: Path) -> None:
    (copy / SERVER_FILE).unlink()
    (copy / DETECTOR_FILE).unlink()
    device = load_device(copy)
    symbols = device.encoder.encode(np.full((48, 64, 3), 90, np.uint8), width=2, quality=1)
    assert symbols.shape == (CHANNELS, 3, 4)
    assert symbols.dtype == np.int16


def test_symbols_travel_from_a_device_to_raw_predictions(tiny_bundle: Path, photo: np.ndarray) -> None:
    device, server = load_device(tiny_bundle), load_server(tiny_bundle)
    canvas = np.ascontiguousarray(photo[:48, :64])
    for width in range(1, WIDTHS + 1):
        for quality in range(QUALITIES):
            bitstream = device.codec.compress(device.encoder.encode(canvas, width, quality), width, quality)
            header, symbols = server.codec.decompress(bitstream)
            latent = server.half.dequantise(symbols, header.width, header.quality)
            with torch.inference_mode():
                raw = server.half(latent[None])
            assert raw.shape == (1, 84, 5 + CLASSES)
            assert torch.isfinite(raw).all()


def test_what_was_never_sent_is_zero_in_the_latent(tiny_bundle: Path) -> None:
    latent = load_server(tiny_bundle).half.dequantise(np.ones((CHANNELS, 3, 2), np.int16), 1, 0)
    assert latent.shape == (CHANNELS, 4, 4)
    assert (latent[:, :3, :2] > 0).all()
    assert latent[:, 3:].abs().sum() == 0
    assert latent[:, :, 2:].abs().sum() == 0


def test_the_unsplit_detector_runs_on_a_padded_canvas(tiny_bundle: Path) -> None:
    detector = load_server(tiny_bundle).detector
    assert detector is not None
    image = image_input(np.zeros((48, 64, 3), np.uint8), INPUT_SIZE)
    assert image[:, :48].max() == 0
    assert (image[:, 48:] == 114).all()
    assert detector(image[None]).shape == (1, 84, 5 + CLASSES)


def test_both_halves_name_the_same_bundle(tiny_bundle: Path) -> None:
    assert load_device(tiny_bundle).manifest == load_server(tiny_bundle).manifest


def test_another_training_is_another_digest(tiny_bundle: Path, tmp_path: Path) -> None:
    assert write_tiny_bundle(tmp_path, seed=1).digest != load_manifest(tiny_bundle).digest


def test_measurements_do_not_make_another_bundle(copy: Path) -> None:
    before = load_manifest(copy)
    point = MeasuredPoint(Mode.SPLIT, Codec.RANS, 4, 2, 24.5, 40.0, 3900.0, 4800.0, 5.5, 150.0)
    before.with_measurements(Accuracy(29.3, 45.0), (point,)).write(copy)
    after = load_manifest(copy)
    assert after.digest == before.digest
    assert after.points == (point,)
    assert after.unsplit == Accuracy(29.3, 45.0)
    load_device(copy)


def test_a_missing_folder_is_not_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"is not a bundle: it has no manifest\.json"):
        load_device(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [ENCODER_FILE, SERVER_FILE, DETECTOR_FILE])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing; copy the bundle again"):
        load_server(copy)


@pytest.mark.parametrize("name", [ENCODER_FILE, SERVER_FILE, DETECTOR_FILE])
def test_a_half_copied_file_is_named(copy: Path, name: str) -> None:
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(BundleError, match="half copied"):
        load_server(copy)


@pytest.mark.parametrize("name", [ENCODER_FILE, SERVER_FILE])
def test_a_flipped_bit_is_a_digest_mismatch(copy: Path, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[-5] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(DigestMismatchError, match=name):
        load_server(copy)


def with_file(bundle: Path, name: str, data: bytes) -> Path:
    """Give a bundle another file, and a manifest that says so."""
    (bundle / name).write_bytes(data)
    manifest = load_manifest(bundle)
    entry = FileEntry(hashlib.sha256(data).hexdigest(), len(data))
    replace(manifest, files={**manifest.files, name: entry}).write(bundle)
    return bundle


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(copy: Path, odd: float) -> None:
    tensors = load((copy / SERVER_FILE).read_bytes())
    key = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[key].view(-1)[-1] = odd
    with pytest.raises(BundleError, match=f"{key}' holds numbers that are not finite"):
        load_server(with_file(copy, SERVER_FILE, save(tensors)))


def test_a_header_of_a_million_tensors_is_refused_unread(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "load_tensors", lambda _: pytest.fail("read the header"))
    with pytest.raises(BundleError, match="a header of over 4000000 bytes"):
        load_server(with_file(copy, ENCODER_FILE, (4_000_001).to_bytes(8, "little") + b"{"))


def test_a_pipe_or_an_endless_device_in_the_place_of_a_file_is_refused_at_once(copy: Path) -> None:
    (copy / SERVER_FILE).unlink()
    os.mkfifo(copy / SERVER_FILE)
    with pytest.raises(BundleError):
        load_server(copy)
    (copy / FILE_NAME).unlink()
    (copy / FILE_NAME).symlink_to("/dev/zero")
    with pytest.raises(BundleError, match="not a regular file"):
        load_server(copy)


def test_files_of_another_bundle_are_refused(copy: Path, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "other", seed=1)
    shutil.copy(tmp_path / "other" / ENCODER_FILE, copy / ENCODER_FILE)
    with pytest.raises(BundleError, match=ENCODER_FILE):
        load_device(copy)


def test_an_edited_manifest_is_refused(copy: Path) -> None:
    path = copy / "manifest.json"
    values = json.loads(path.read_text())
    values["qualities"] = 2
    path.write_text(json.dumps(values))
    with pytest.raises(BundleError, match="edited or damaged"):
        load_manifest(copy)


@pytest.mark.parametrize("key", ["name", "detector", "encoder", "files", "class_names", "points"])
@pytest.mark.parametrize("value", [None, 7, "?", [], {"x": "y"}])
def test_a_manifest_with_wrong_values_is_refused(copy: Path, key: str, value: object) -> None:
    path = copy / "manifest.json"
    values = json.loads(path.read_text())
    if values[key] == value:
        pytest.skip("that is the right value")
    values[key] = value
    path.write_text(json.dumps(values))
    with pytest.raises(BundleError):
        load_manifest(copy)


@pytest.mark.parametrize("key", ["format_version", "input_size", "digest", "licence", "decoder"])
def test_a_manifest_without_a_field_is_refused(copy: Path, key: str) -> None:
    path = copy / "manifest.json"
    values = json.loads(path.read_text())
    del values[key]
    path.write_text(json.dumps(values))
    with pytest.raises(BundleError):
        load_manifest(copy)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_not_json_is_refused(copy: Path, content: bytes) -> None:
    (copy / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError):
        load_manifest(copy)


def test_every_split_point_makes_a_working_bundle(tmp_path: Path) -> None:
    for split_point in ("stem", "dark2", "dark3", "dark4"):
        folder = tmp_path / split_point
        write_tiny_bundle(folder, split_point=split_point)
        half = load_server(folder).half
        with torch.inference_mode():
            assert half(torch.zeros(2, CHANNELS, 4, 4)).shape == (2, 84, 5 + CLASSES)
