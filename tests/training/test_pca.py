"""A detector becomes a split bundle without training: stored, loaded, served, and refused where it is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from splitnet.bundle import load_device, load_server
from splitnet.errors import BundleError, ConfigError
from splitnet.letterbox import Letterbox
from splitnet.manifest import ENCODER_FILE, Manifest, load_manifest
from splitnet.nn.encoder.projection import ProjectionEncoder, ProjectionSpec
from splitnet.nn.split_detector import image_input
from splitnet.nn.yolox.network import YOLOX
from splitnet.operating_point import Codec, OperatingPoint
from tests.support.commands import detected
from tests.support.labelled_images import annotations
from tests.support.tiny_bundle import DECODER, ENCODER
from tests.support.tiny_student import CLASSES, make_teacher, random_images
from training.evaluation.systems import SplitSystem
from training.pca import PcaPlan, PcaSettings, export_pca, make_bundle

INPUT_SIZE = 64
NAMES = ("person", "cup", "cat")
STEPS = (2.0, 0.02)
assert len(NAMES) == CLASSES


@pytest.fixture(scope="module")
def teacher() -> YOLOX:
    return make_teacher()


@pytest.fixture(scope="module")
def image_paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    for i, image in enumerate(random_images(6, 48, 64)):
        assert cv2.imwrite(str(folder / f"{i}.png"), image)
    return sorted(folder.iterdir())


def export(folder: Path, teacher: YOLOX, image_paths: list[Path], split_point: str = "dark3", rank: int = 0) -> Path:
    export_pca(folder, teacher, image_paths, PcaPlan("yolox-nano", NAMES, split_point, INPUT_SIZE, rank, STEPS))
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, teacher: YOLOX, image_paths: list[Path]) -> Path:
    """Return a bundle of all components. Do not change it: it is made once."""
    return export(tmp_path_factory.mktemp("bundles") / "free", teacher, image_paths, rank=64)


@pytest.mark.parametrize("split_point", ["stem", "dark2", "dark3", "dark4"])
def test_all_components_at_a_fine_step_say_what_the_whole_detector_says(teacher, image_paths, tmp_path, split_point):
    folder = export(tmp_path / "free", teacher, image_paths, split_point, rank=1024)
    device, server = load_device(folder), load_server(folder)
    system = SplitSystem(device, server, OperatingPoint(Codec.RANS, 1, 1))
    frame = random_images(1, 64, 64, seed=3)[0]
    box = Letterbox.fit(64, 64, INPUT_SIZE)
    with torch.inference_mode():
        raw = system.raw(system.compress(frame, box), box)
        whole = teacher(image_input(frame, INPUT_SIZE)[None])
    assert (raw - whole).abs().mean() < 0.05 * whole.std()


def test_the_manifest_says_what_the_device_runs(bundle):
    manifest = load_manifest(bundle)
    assert manifest.encoder == ProjectionSpec({"dark3": 64})
    assert (manifest.widths, manifest.qualities, manifest.latent_channels) == (1, 2, 64 * 4 + 1)
    assert manifest.latent_size == (257, 4, 4)
    assert (manifest.decoder, manifest.class_names, manifest.name) == (None, NAMES, "free")
    assert json.loads((bundle / "manifest.json").read_text())["encoder"] == {
        "components": {"dark3": 64},
        "kind": "front+pca",
    }


def test_the_device_half_needs_no_more_than_the_front(bundle):
    device = load_device(bundle)
    symbols = device.encoder.encode(np.full((48, 64, 3), 90, np.uint8), 1, 0)
    assert symbols.shape == (257, 3, 4)
    assert (symbols[-1] == 1).all()  # an image is there
    assert list(ProjectionEncoder(device.encoder.spec, "yolox-nano", "dark3").stages) == ["stem", "dark2", "dark3"]


def test_qualities_are_step_sizes_the_fewest_bytes_first(bundle):
    device = load_device(bundle)
    canvas = random_images(1, 48, 64, seed=5)[0]
    sizes = [len(device.codec.compress(device.encoder.encode(canvas, 1, q), 1, q)) for q in (0, 1)]
    assert sizes[0] < sizes[1]


def test_a_rank_is_kept_of_each_tensor_up_to_its_channels(teacher, image_paths, tmp_path):
    folder = export(tmp_path / "free", teacher, image_paths[:2], "dark4", rank=100)
    assert load_manifest(folder).encoder == ProjectionSpec({"dark3": 64, "dark4": 100})


def test_without_a_rank_as_many_are_kept_as_hold_nearly_all_energy(teacher, image_paths, tmp_path):
    (count,) = load_manifest(export(tmp_path / "free", teacher, image_paths[:3])).encoder.components.values()
    assert 1 <= count < 64


def test_making_it_twice_gives_the_same_bundle(teacher, image_paths, tmp_path, bundle):
    again = export(tmp_path / "free", teacher, image_paths, rank=64)
    assert load_manifest(again).digest == load_manifest(bundle).digest


def test_a_half_front_is_refused(bundle, tmp_path):
    manifest = load_manifest(bundle)
    (tmp_path / ENCODER_FILE).write_bytes((bundle / ENCODER_FILE).read_bytes()[:-100])
    manifest.write(tmp_path)
    with pytest.raises(BundleError, match="half copied"):
        load_device(tmp_path)


def edited(bundle: Path, folder: Path, **changes: object) -> Path:
    values = json.loads((bundle / "manifest.json").read_text()) | changes
    (folder / "manifest.json").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": {"kind": "tea", "components": {"dark3": 4}}}, "unknown encoder kind 'tea': update this software"),
        ({"encoder": {"kind": "front+pca"}}, "'components' is missing"),
        ({"encoder": {"kind": "front+pca", "components": {"dark3": 65}}}, "65 components of dark3, which has 64"),
        ({"encoder": {"kind": "front+pca", "components": {"dark3": "4"}}}, "expected a whole number"),
        ({"encoder": {"kind": "front+pca", "components": {"dark3": 4, "dark4": 4}}}, "needs the components of dark3"),
        ({"encoder": {"kind": "front+pca", "components": [4]}}, "manifest.json"),
        ({"encoder": [1]}, "manifest.json"),
        (
            {"decoder": {"channels": 4, "blocks": 1, "branch_channels": 4, "branch_blocks": 1}},
            "follows from the encoder",
        ),
        ({"encoder": {"kind": "front+pca", "components": {"dark3": 63}}}, "its digest does not match"),
    ],
)
def test_a_manifest_that_no_bundle_can_have_is_refused(bundle, tmp_path, changes, message):
    with pytest.raises(BundleError, match=message):
        load_manifest(edited(bundle, tmp_path, **changes))


def test_an_ensemble_needs_a_decoder_of_its_own():
    with pytest.raises(BundleError, match="needs the shape of a decoder"):
        Manifest("x", "yolox-nano", "dark3", 64, NAMES, 2, ENCODER, None, {})


def test_the_manifest_of_an_ensemble_is_as_it_was():
    values = Manifest("x", "yolox-nano", "dark3", 64, NAMES, 2, ENCODER, DECODER, {}).to_json()
    assert "kind" not in values["encoder"]


@pytest.fixture
def given(tmp_path: Path, teacher: YOLOX, image_paths: list[Path]) -> dict[str, object]:
    save_file({k: v.contiguous() for k, v in teacher.state_dict().items()}, tmp_path / "teacher.safetensors")
    (tmp_path / "classes.json").write_text(json.dumps(annotations(NAMES)))
    return {
        "teacher": tmp_path / "teacher.safetensors",
        "classes": tmp_path / "classes.json",
        "images": [image_paths[0].parent],
        "bundle": tmp_path / "free",
        "input_size": INPUT_SIZE,
        "fit_limit": 3,
    }


def test_settings_make_a_bundle(given, tmp_path):
    written = make_bundle(PcaSettings(**given, rank=8, split_point="dark2"))
    assert written == load_manifest(tmp_path / "free")
    assert written.encoder == ProjectionSpec({"dark2": 8})


def test_a_detector_of_other_classes_is_refused(given, tmp_path):
    (tmp_path / "classes.json").write_text(json.dumps(annotations(NAMES[:2])))
    with pytest.raises(ConfigError, match="knows 3 classes"):
        make_bundle(PcaSettings(**given))
    assert not (tmp_path / "free").exists()


@pytest.mark.parametrize("changes", [{"rank": -1}, {"input_size": -32}, {"fit_limit": 0}, {"threads": 0}])
def test_numbers_that_cannot_be_are_refused(given, changes):
    with pytest.raises(ConfigError, match="must not be negative"):
        PcaSettings(**(given | changes))


def test_the_same_server_and_client_run_it(bundle, image_paths, tmp_path, capsys):
    records = detected(bundle, image_paths[0].parent, tmp_path, "w1 q0, w1 q1, w1 q1 zstd")
    assert capsys.readouterr().err == ""
    # In whatever order: under load an answer may overtake another.
    assert sorted(record["frame_id"] for record in records) == list(range(1, len(image_paths) + 1))
    assert {(record["codec"], record["quality"]) for record in records} == {("rans", 0), ("rans", 1), ("zstd", 1)}
