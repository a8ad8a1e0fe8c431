"""The detector that a device runs alone: a part of the bundle of its own, or the unsplit one as before."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from splitnet.bundle import add_local_detector, load_device, load_local_detector, load_server
from splitnet.errors import BundleError, DigestMismatchError
from splitnet.manifest import DETECTOR_FILE, LOCAL_FILE, SERVER_FILE, Accuracy, FileEntry, LocalDetector, load_manifest
from splitnet.nn.efficientdet.network import EfficientDet
from splitnet.nn.yolox.network import YOLOX
from tests.support.tiny_bundle import CLASSES

NAMES = tuple(f"class {i}" for i in range(CLASSES))
LIGHT = LocalDetector("yolox-nano", 96, NAMES, FileEntry("", 0), None, 12.5, "drawn at random", "CC0")


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


@pytest.fixture
def light() -> YOLOX:
    torch.manual_seed(7)
    return YOLOX("yolox-nano", CLASSES).eval()


def edit(folder: Path, **changes: object) -> None:
    """Change what the manifest says of the local detector, which no digest covers."""
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    values["local"] |= changes
    path.write_text(json.dumps(values))


def test_it_comes_back_with_all_that_is_known_of_it(copy, light):
    added = add_local_detector(copy, light, LIGHT)
    manifest = load_manifest(copy)
    assert manifest == added
    size = (copy / LOCAL_FILE).stat().st_size
    assert manifest.local_detector == replace(LIGHT, file=FileEntry(manifest.local.file.sha256, size))
    loaded = load_local_detector(copy, manifest)
    image = torch.rand(1, 3, 96, 96) * 255
    with torch.inference_mode():
        torch.testing.assert_close(loaded(image), light.half().float()(image), rtol=1e-3, atol=1e-3)


def test_the_servers_detector_and_the_digest_stay(copy, light):
    before, images = load_manifest(copy), load_server(copy).detector.state_dict()
    after = add_local_detector(copy, light, LIGHT)
    assert (after.digest, after.files, after.detector) == (before.digest, before.files, before.detector)
    assert all(torch.equal(value, images[name]) for name, value in load_server(copy).detector.state_dict().items())


def test_it_may_be_of_another_family(copy):
    torch.manual_seed(0)
    known = replace(LIGHT, detector="efficientdet-d0", input_size=64)
    add_local_detector(copy, EfficientDet("efficientdet-d0", CLASSES), known)
    assert load_local_detector(copy, load_manifest(copy)).name == "efficientdet-d0"
    assert load_server(copy).detector.name == "yolox-nano"


def test_a_device_needs_neither_the_servers_half_nor_its_detector_for_it(copy, light):
    add_local_detector(copy, light, LIGHT)
    (copy / SERVER_FILE).unlink(), (copy / DETECTOR_FILE).unlink()
    assert load_local_detector(copy, load_device(copy).manifest).name == "yolox-nano"


def test_a_server_does_not_need_its_file(copy, light):
    add_local_detector(copy, light, LIGHT)
    (copy / LOCAL_FILE).unlink()
    assert load_local_detector(copy, load_server(copy).manifest) is None


def test_a_bundle_without_one_of_its_own_has_the_unsplit_detector(copy):
    manifest = load_manifest(copy).with_measurements(Accuracy(29.3, 45.0), ())
    assert (manifest.local, manifest.local_file) == (None, DETECTOR_FILE)
    expected = LocalDetector("yolox-nano", 64, NAMES, manifest.files[DETECTOR_FILE], Accuracy(29.3, 45.0))
    assert manifest.local_detector == expected
    assert load_local_detector(copy, manifest) is not None


def test_a_bundle_with_neither_has_none(copy):
    manifest = load_manifest(copy)
    without = replace(manifest, files={k: v for k, v in manifest.files.items() if k != DETECTOR_FILE})
    assert without.local_detector is None
    assert load_local_detector(copy, without) is None


@pytest.mark.parametrize("name", ["coco-nano", "highway-nano"])
def test_the_bundles_from_before_load(name):
    folder = Path(__file__).resolve().parents[2] / "bundles" / name
    manifest = load_manifest(folder)
    assert manifest.local_detector.detector == manifest.detector == "yolox-nano"
    assert manifest.local_detector.accuracy == manifest.unsplit


def test_measurements_of_it_are_kept_and_make_no_other_bundle(copy, light):
    before = add_local_detector(copy, light, LIGHT)
    before.with_measurements(Accuracy(37.7, 54.4), (), Accuracy(28.7, 44.1)).write(copy)
    after = load_manifest(copy)
    assert (after.unsplit, after.local.accuracy) == (Accuracy(37.7, 54.4), Accuracy(28.7, 44.1))
    assert after.digest == before.digest
    assert after.with_measurements(None, ()).local.accuracy == Accuracy(28.7, 44.1)  # not measured: as it was


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (NAMES[:-1], "its local detector knows 79 classes, the bundle 80"),
        (("cat", *NAMES[1:]), "class 0 of its local detector is 'cat', of the bundle 'class 0'"),
        ((NAMES[1], NAMES[0], *NAMES[2:]), "class 0 of its local detector is 'class 1'"),
    ],
)
def test_other_classes_are_refused_by_name_before_anything_is_written(copy, light, names, message):
    with pytest.raises(BundleError, match=message):
        add_local_detector(copy, light, replace(LIGHT, class_names=names))
    assert not (copy / LOCAL_FILE).exists()
    add_local_detector(copy, light, LIGHT)
    edit(copy, class_names=list(names))
    with pytest.raises(BundleError, match=message):
        load_manifest(copy)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"detector": "yolox-huge"}, "unknown detector 'yolox-huge'"),
        ({"input_size": 100}, "input size 100 is not a multiple of 32"),
        ({"input_size": 1 << 20}, "is out of range"),
        ({"file": {"sha256": "00"}}, "'bytes' is missing"),
        ({"mmacs": "many"}, "expected a number"),
        ({"accuracy": {"ap": 1.0}}, "ap50"),
        ({"origin": "two\nlines"}, "printable text"),
    ],
)
def test_what_a_manifest_cannot_say_of_it_is_refused(copy, light, changes, message):
    add_local_detector(copy, light, LIGHT)
    edit(copy, **changes)
    with pytest.raises(BundleError, match=message):
        load_manifest(copy)


def test_another_file_than_the_manifests_is_refused(copy, light):
    manifest = add_local_detector(copy, light, LIGHT)
    data = bytearray((copy / LOCAL_FILE).read_bytes())
    data[-1] ^= 1
    (copy / LOCAL_FILE).write_bytes(data)
    with pytest.raises(DigestMismatchError, match=r"local\.safetensors is not the manifest's"):
        load_local_detector(copy, manifest)
    (copy / LOCAL_FILE).write_bytes(data[:100])
    with pytest.raises(BundleError, match="half copied"):
        load_local_detector(copy, manifest)


def test_weights_of_another_network_are_refused(copy, light):
    manifest = add_local_detector(copy, light, LIGHT)
    with pytest.raises(BundleError, match=r"local\.safetensors does not fit the manifest"):
        load_local_detector(copy, replace(manifest, local=replace(manifest.local, detector="efficientdet-d0")))
