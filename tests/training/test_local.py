"""The `local` command: a bundle gets the detector that its devices run alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from splitnet.bundle import load_local_detector
from splitnet.manifest import load_manifest
from splitnet.nn.macs import count_macs
from splitnet.nn.nanodet.network import NanoDet
from splitnet.nn.yolox.network import YOLOX
from tests.support.tiny_bundle import CLASSES, write_tiny_bundle
from training.__main__ import main
from training.detectors.detector_file import DetectorNote, write_detector
from training.local import local_mmacs

NAMES = tuple(f"class {i}" for i in range(CLASSES))


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return what a training of a detector leaves behind."""
    return write_run(tmp_path / "run", NAMES)


def write_run(folder: Path, names: tuple[str, ...]) -> Path:
    torch.manual_seed(5)
    folder.mkdir()
    note = DetectorNote("yolox-nano", names, 96, "trained here", 100, 24.0)
    write_detector(folder, YOLOX("yolox-nano", len(names)).state_dict(), note)
    return folder


def write_classes(path: Path, names: tuple[str, ...]) -> Path:
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(names)]
    path.write_text(json.dumps({"images": [], "annotations": [], "categories": categories}))
    return path


def test_the_run_of_a_detector_says_all_that_is_needed(bundle, run, capsys):
    digest = load_manifest(bundle).digest
    assert main(["local", "--bundle", str(bundle), "--weights", str(run)]) == 0
    manifest = load_manifest(bundle)
    assert manifest.digest == digest
    assert (manifest.local.detector, manifest.local.input_size, manifest.local.origin) == (
        "yolox-nano",
        96,
        "trained here",
    )
    assert manifest.local.mmacs == round(local_mmacs(YOLOX("yolox-nano", CLASSES), 96), 2)
    assert load_local_detector(bundle, manifest) is not None
    assert "has yolox-nano for its devices" in capsys.readouterr().out


def test_another_bundles_detector_may_be_taken(bundle, tmp_path):
    other = tmp_path / "other"
    theirs = write_tiny_bundle(other, seed=4)
    assert main(["local", "--bundle", str(bundle), "--weights", str(other)]) == 0
    local = load_manifest(bundle).local
    assert (local.detector, local.input_size, local.class_names) == (theirs.detector, 64, NAMES)
    assert local.file == theirs.files["detector.safetensors"]  # the same weights to the byte


def test_of_a_file_the_user_says_what_it_is(bundle, run, tmp_path, capsys):
    weights = tmp_path / "plain.safetensors"
    from safetensors.torch import load_file, save_file

    save_file(load_file(run / "detector.safetensors"), weights)
    command = ["local", "--bundle", str(bundle), "--weights", str(weights)]
    assert main(command) == 2
    assert "does not say what it is: give --detector and --classes" in capsys.readouterr().err
    classes = write_classes(tmp_path / "classes.json", NAMES)
    command += ["--detector", "yolox-nano", "--classes", str(classes), "--input-size", "64", "--licence", "MIT"]
    assert main(command) == 0
    local = load_manifest(bundle).local
    assert (local.input_size, local.licence) == (64, "MIT")
    assert local.origin == "The public yolox-nano weights of Megvii's YOLOX (Apache-2.0)."


def test_other_classes_are_refused_and_the_bundle_stays(bundle, tmp_path, capsys):
    before = (bundle / "manifest.json").read_bytes()
    run = write_run(tmp_path / "cats", ("cat", *NAMES[1:]))
    assert main(["local", "--bundle", str(bundle), "--weights", str(run)]) == 2
    assert "class 0 of its local detector is 'cat', of the bundle 'class 0'" in capsys.readouterr().err
    assert (bundle / "manifest.json").read_bytes() == before


def test_a_size_that_no_detector_takes_is_refused(bundle, run, capsys):
    assert main(["local", "--bundle", str(bundle), "--weights", str(run), "--input-size", "100"]) == 2
    assert "input size 100 is not a multiple of 32" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("detector", "seen"), [(YOLOX("yolox-nano", 3), (320, 416)), (NanoDet("nanodet-plus-m", 3), (416, 416))]
)
def test_what_a_frame_costs_is_counted_on_what_the_detector_sees(detector, seen):
    image = torch.zeros(1, 3, *seen)
    assert local_mmacs(detector.eval(), 416) == count_macs(detector, lambda: detector(image)) / 1e6
