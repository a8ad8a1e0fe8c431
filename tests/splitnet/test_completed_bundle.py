"""A second server half: a bundle with the device half of another one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cloud_server.compute.bundle_model import BundleModel
from splitnet.bundle import load_device, load_server, replace_change_tables, save_server_half
from splitnet.errors import BundleError
from splitnet.manifest import ENCODER_FILE, FILE_NAME, CompletedBundle, Manifest, load_manifest
from splitnet.nn.decoder import Decoder
from splitnet.nn.split_detector import ServerHalf
from splitnet.nn.yolox.network import YOLOX
from tests.support.tiny_bundle import CHANNELS, CLASSES, DECODER, INPUT_SIZE, change_tables, write_tiny_bundle


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    write_tiny_bundle(folder)
    return folder


def other_half(source: Path) -> ServerHalf:
    """Return a server half of another detector, split at another stage, for the devices of a tiny bundle."""
    decoder = Decoder(DECODER, CHANNELS, "yolox-tiny", "dark4")
    rest = YOLOX("yolox-tiny", CLASSES, "dark4")
    return ServerHalf(decoder, rest, load_server(source).half.inverse_gains, INPUT_SIZE)


def manifest_of(source: Path) -> Manifest:
    theirs = load_manifest(source)
    completed = CompletedBundle(theirs.digest, *theirs.front)
    return replace(theirs, name="second", detector="yolox-tiny", split_point="dark4", completes=completed)


@pytest.fixture(scope="module")
def second(first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("second")
    save_server_half(folder, manifest_of(first), first, other_half(first), YOLOX("yolox-tiny", CLASSES))
    return folder


def test_it_has_the_device_half_bit_for_bit_and_a_digest_of_its_own(first, second):
    ours, theirs = load_manifest(second), load_manifest(first)
    assert (second / ENCODER_FILE).read_bytes() == (first / ENCODER_FILE).read_bytes()
    assert ours.device_digest == theirs.device_digest == theirs.digest != ours.digest
    assert ours.front == ("yolox-nano", "dark3") and ours.detector == "yolox-tiny"


def test_what_a_device_of_the_first_sends_the_second_completes(first, second, photo):
    device, server = load_device(first), load_server(second)
    symbols = device.encoder.encode(np.ascontiguousarray(photo[:48, :64]), 4, 2)
    header, received = server.codec.decompress(device.codec.compress(symbols, 4, 2))
    assert np.array_equal(received, symbols)
    raw = server.half(server.half.dequantise(received, header.width, header.quality)[None])
    assert raw.shape == (1, 84, 5 + CLASSES)


def test_a_device_may_hold_either(first, second, photo):
    canvas = np.ascontiguousarray(photo[:48, :64])
    of_first, of_second = (load_device(folder) for folder in (first, second))
    symbols = of_second.encoder.encode(canvas, 2, 1)
    assert np.array_equal(symbols, of_first.encoder.encode(canvas, 2, 1))
    assert of_second.codec.compress(symbols, 2, 1) == of_first.codec.compress(symbols, 2, 1)


def test_the_model_of_the_second_is_for_the_devices_of_the_first(first, second):
    model = BundleModel(load_server(second), "cpu")
    assert model.device_digest == load_manifest(first).digest != model.digest


def test_a_third_half_completes_the_first_too(first, second, tmp_path):
    manifest = replace(manifest_of(first), name="third")
    written = save_server_half(tmp_path, manifest, second, other_half(first), YOLOX("yolox-tiny", CLASSES))
    assert written.device_digest == load_manifest(first).digest


def test_bundles_that_complete_none_keep_the_digests_of_before(first):
    assert "completes" not in json.loads((first / FILE_NAME).read_text())


def test_other_classes_are_refused_and_named(first, tmp_path):
    manifest = replace(manifest_of(first), class_names=("car", *manifest_of(first).class_names[1:]))
    with pytest.raises(BundleError, match="class 0 of bundle tiny-0 is 'class 0', of the bundle 'car'"):
        save_server_half(tmp_path, manifest, first, other_half(first), YOLOX("yolox-tiny", CLASSES))


def test_tables_go_to_the_bundle_whose_device_half_it_is(second):
    with pytest.raises(BundleError, match="has the device half of another bundle: give that one the tables"):
        replace_change_tables(second, change_tables())


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("digest", "12", "which is no digest"),
        ("detector", "alexnet", "unknown detector 'alexnet'"),
        ("split_point", "dark9", "unknown split point 'dark9'"),
        ("digest", None, "expected printable text, found None"),
    ],
)
def test_a_manifest_that_completes_nonsense_is_refused(second, tmp_path, field, value, message):
    shutil.copytree(second, tmp_path / "copy")
    path = tmp_path / "copy" / FILE_NAME
    values = json.loads(path.read_text())
    values["completes"][field] = value
    path.write_text(json.dumps(values))
    with pytest.raises(BundleError, match=message):
        load_manifest(tmp_path / "copy")
