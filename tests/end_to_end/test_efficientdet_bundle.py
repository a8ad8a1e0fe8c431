"""An EfficientDet goes the way of a YOLOX: studied, split with and without training, stored, served and run alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from cloud_server.compute.bundle_model import BundleModel
from cloud_server.compute.decoded_frame import DecodedFrame
from cloud_server.compute.onnx_module import OnnxModule, exported, is_installed
from edge_client.encoding.local_detector import load_local
from splitnet.bundle import load_device, load_server
from splitnet.errors import BundleError, ConfigError
from splitnet.letterbox import Letterbox
from splitnet.manifest import Manifest, load_manifest
from splitnet.nn.efficientdet.architecture import EfficientDetArchitecture
from splitnet.nn.efficientdet.network import EfficientDet
from splitnet.nn.split_detector import image_input
from splitnet.operating_point import Codec, Mode, OperatingPoint
from tests.support.commands import detected
from tests.support.labelled_images import annotations, write_labelled
from tests.support.named_weights import named_weights
from tests.support.tiny_student import DECODER, ENCODER, FRONT, random_images
from training.distillation.export import export_bundle
from training.distillation.front_start import start_front
from training.distillation.recipe import ENSEMBLE
from training.distillation.recompression import RecompressConfig, Recompression
from training.distillation.student import Student, StudentSpec
from training.distillation.task import Distillation, DistillConfig
from training.evaluation.systems import SplitSystem
from training.pca import PcaPlan, PcaSettings, export_pca, make_bundle
from training.split_points import SplitPointsSettings, run_study

NAME, SIDE = "efficientdet-d0", 64
NAMES = ("person", "cup", "cat")
RECIPE = replace(ENSEMBLE, matrix_rate=5e-2, peak_rate=2e-2, prices=(0.0, 0.0))


@pytest.fixture(scope="module")
def public() -> EfficientDet:
    """Return a detector as a public checkpoint has it. Do not change it."""
    detector = EfficientDet(NAME, len(NAMES), fused=False).eval()
    state = named_weights(detector.state_dict())
    for key in ("weight", "bias"):  # scores that differ, and boxes near their anchors
        state[f"class_net.predict.conv_pw.{key}"] *= 0.05
        state[f"box_net.predict.conv_pw.{key}"] *= 0.01
    detector.load_state_dict(state)
    return detector


@pytest.fixture(scope="module")
def teacher(public: EfficientDet) -> EfficientDet:
    """Return the same, as it runs. Do not change it."""
    detector = EfficientDet(NAME, len(NAMES), fused=False).eval()
    detector.load_state_dict(public.state_dict())
    return detector.fuse()


@pytest.fixture(scope="module")
def folder(public: EfficientDet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a checkpoint, the names of its classes and images."""
    folder = tmp_path_factory.mktemp("given")
    torch.save(public.state_dict(), folder / "d0.pth")
    (folder / "classes.json").write_text(json.dumps(annotations(NAMES)))
    (folder / "images").mkdir()
    for i, image in enumerate(random_images(5, SIDE, SIDE)):
        assert cv2.imwrite(str(folder / "images" / f"{i}.png"), image)
    return folder


def images(folder: Path) -> list[Path]:
    return sorted((folder / "images").iterdir())


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Path:
    """Return a bundle that needed no training. Do not change it: it is made once."""
    files = folder / "d0.pth", folder / "classes.json", [folder / "images"], folder / "free"
    sizes = {"rank": 8, "input_size": SIDE, "fit_limit": 2}
    make_bundle(PcaSettings(*files, detector=NAME, split_point="c3", **sizes))
    return folder / "free"


def test_all_components_at_a_fine_step_say_what_the_whole_detector_says(teacher, folder, tmp_path):
    plan = PcaPlan(NAME, NAMES, "c4", SIDE, rank=1024, steps=(1.0, 0.02))
    export_pca(tmp_path / "free", teacher, images(folder), plan)
    device, server = load_device(tmp_path / "free"), load_server(tmp_path / "free")
    system = SplitSystem(device, server, OperatingPoint(Codec.RANS, 1, 1))
    frame = random_images(1, SIDE, SIDE, seed=3)[0]
    box = Letterbox.fit(SIDE, SIDE, SIDE)
    with torch.inference_mode():
        raw = system.raw(system.compress(frame, box), box)
        whole = teacher(image_input(frame, SIDE)[None])
    assert (raw - whole).abs().mean() < 0.05 * whole.std()


def test_server_and_device_find_the_same_in_a_image(bundle, monkeypatch):
    monkeypatch.setattr(EfficientDetArchitecture.detections, "__defaults__", (0.5,))
    model = BundleModel(load_server(bundle), torch.device("cpu"))
    frame = random_images(1, SIDE, SIDE, seed=4)[0]
    letterbox = Letterbox.fit(SIDE, SIDE, SIDE)
    sent = DecodedFrame(letterbox.apply(frame), OperatingPoint(Codec.JPEG, 0, 100), letterbox)
    (expected,) = model.infer(Mode.IMAGE, [sent])
    local = load_local(bundle, load_manifest(bundle), "cpu")
    assert local is not None
    _, found = local.detect(frame)
    assert len(found) == len(expected) > 0
    assert found.scores == pytest.approx(expected.scores, abs=1e-3)
    assert set(found.labels.tolist()) <= {0, 1, 2}


def test_the_same_server_and_client_run_it(bundle, folder, tmp_path):
    records = detected(bundle, folder / "images", tmp_path, "w1 q0, w1 q5 zstd, jpeg 40")
    assert {record["codec"] for record in records} == {"rans", "zstd", "jpeg"}


@pytest.mark.skipif(not is_installed(), reason="needs ONNX Runtime")
def test_a_server_may_run_it_by_onnx_runtime_and_a_device_is_told_that_it_may_not(bundle):
    server = load_server(bundle).half
    by_runtime = OnnxModule(exported(server, torch.zeros(1, 33, 4, 4)), threads=1)
    latents = torch.randn(3, 33, 4, 4)  # another batch size than the example's
    with torch.inference_mode():
        torch.testing.assert_close(by_runtime(latents), server(latents), rtol=1e-3, atol=1e-3)
    with pytest.raises(ConfigError, match="pads by the canvas's size: run this bundle with PyTorch"):
        load_device(bundle).encoder.use_onnxruntime(1)


def student_spec(split_point: str) -> StudentSpec:
    return StudentSpec(NAME, len(NAMES), split_point, qualities=2, encoder=ENCODER, decoder=DECODER)


@pytest.mark.parametrize(("split_point", "name"), [("c3", "c4"), ("c4", "c3")])
def test_a_student_learns_features_first(teacher, split_point, name):
    task = Distillation(DistillConfig(SIDE, RECIPE), student_spec(split_point), teacher)
    errors = [task.train(random_images(2), 0.3)[name][0] for _ in range(9)]
    assert np.mean(errors[-3:]) < 0.95 * np.mean(errors[:3])


def test_then_everything_learns_the_detections_too(teacher):
    task = Distillation(DistillConfig(SIDE, RECIPE), student_spec("c3"), teacher)
    before = {name: value.clone() for name, value in task.student.tail.named_parameters()}
    figures = task.train(random_images(2), RECIPE.joint_from)
    assert {"c3", "c4", "p3", "p4", "p5", "raw"} <= figures.keys()
    changed = [name for name, value in task.student.tail.named_parameters() if not torch.equal(value, before[name])]
    assert {name.partition(".")[0] for name in changed} == {"backbone", "fpn", "class_net", "box_net"}


def test_a_front_begins_with_its_own_stages_and_becomes_a_bundle(teacher, folder, tmp_path):
    spec = replace(student_spec("c3"), encoder=FRONT)
    torch.manual_seed(0)
    student = Student(spec)
    student.take_tail(teacher)
    start_front(student, teacher, images(folder), FRONT.sides[-1])
    manifest = Manifest("front", NAME, "c3", FRONT.sides[-1], NAMES, 2, FRONT, DECODER, {})
    export_bundle(tmp_path, manifest, student.eval(), teacher, images(folder))
    device, server = load_device(tmp_path), load_server(tmp_path)
    system = SplitSystem(device, server, OperatingPoint(Codec.RANS, 2, 1))
    box = system.fit(SIDE, SIDE)
    with torch.inference_mode():
        raw = system.raw(system.compress(random_images(1, SIDE, SIDE)[0], box), box)
    assert raw.shape == (1, 3069, 4 + len(NAMES))
    assert bool(torch.isfinite(raw).all())


def test_a_detector_can_be_trained_against_compression(teacher):
    copy = EfficientDet(NAME, len(NAMES)).eval()
    copy.load_state_dict(teacher.state_dict())
    task = Recompression(RecompressConfig(square=SIDE), copy)
    figures = task.train(random_images(1), 0.5)
    assert {"c3", "c4", "p3", "p4", "p5", "raw"} == figures.keys()
    assert np.isfinite([values[0] for values in figures.values()]).all()


def test_its_cuts_are_studied(folder, tmp_path):
    labelled = write_labelled(tmp_path / "labelled", NAMES)
    settings = SplitPointsSettings(
        folder / "d0.pth",
        labelled.parent,
        tmp_path / "study.json",
        model=NAME,
        annotations=labelled,
        fit_images=folder / "images",
        cuts=("c3", "c5"),
        input_size=SIDE,
        limit=1,
    )
    record = run_study(settings)
    assert [one["cut"] for one in record["cuts"]] == ["c3", "c5"]
    tensors = [tuple(t["shape"]) for t in record["cuts"][1]["tensors"]]
    assert tensors == [(40, 8, 8), (112, 4, 4), (320, 2, 2)]


@pytest.mark.parametrize(("detector", "split_point"), [(NAME, "dark3"), ("yolox-nano", "c3"), (NAME, "c5")])
def test_a_split_point_of_the_other_family_is_refused(detector, split_point):
    with pytest.raises(BundleError, match=f"unknown split point '{split_point}'"):
        Manifest("x", detector, split_point, SIDE, NAMES, 2, ENCODER, DECODER, {})


def test_a_front_sends_one_tensor():
    with pytest.raises(ConfigError, match="a split at c4 sends more than one tensor: choose c2 or c3"):
        Student(replace(student_spec("c4"), encoder=FRONT))
