"""A NanoDet-Plus goes the way of the other families: studied, split with and without training, stored, served."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cloud_server.compute.bundle_model import BundleModel
from cloud_server.compute.decoded_frame import DecodedFrame
from cloud_server.compute.onnx_module import OnnxModule, exported, is_installed
from edge_client.encoding.local_detector import load_local
from splitnet.bundle import load_device, load_server
from splitnet.letterbox import Letterbox
from splitnet.manifest import Manifest, load_manifest
from splitnet.nn.encoder.front import FrontSpec
from splitnet.nn.nanodet.architecture import NanoDetArchitecture
from splitnet.nn.nanodet.network import NanoDet
from splitnet.nn.split_detector import image_input
from splitnet.operating_point import Codec, Mode, OperatingPoint
from tests.end_to_end.test_end_to_end import serve, start  # noqa: F401
from tests.support.labelled_images import annotations, write_labelled
from tests.support.named_weights import named_weights
from tests.support.tiny_student import DECODER, random_images
from training.detectors.teacher import read_teacher
from training.distillation.depthwise import CheapDepthwise
from training.distillation.export import export_bundle
from training.distillation.front_start import start_front
from training.distillation.recipe import HEAVY_FRONT
from training.distillation.student import Student, StudentSpec
from training.distillation.task import Distillation, DistillConfig
from training.evaluation.systems import SplitSystem
from training.pca import PcaPlan, PcaSettings, export_pca, make_bundle
from training.split_points import SplitPointsSettings, run_study

NAME, SIDE = "nanodet-plus-m", 64
NAMES = ("person", "cup", "cat")
LIGHT = FrontSpec((32, 64), latent_channels=12, channels=0, blocks=1, stretches=True)
RECIPE = replace(HEAVY_FRONT, prices=(0.0, 0.0))


def received(latent: torch.Tensor) -> torch.Tensor:
    """Return a latent (..., C, h, w) as the server half takes it."""
    return F.pad(latent, (0, 4 - latent.shape[-1], 0, 4 - latent.shape[-2]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a checkpoint, the names of its classes and images."""
    folder = tmp_path_factory.mktemp("given")
    state = named_weights(NanoDet(NAME, len(NAMES), fused=False).state_dict())
    for key in state:
        if "gfl_cls" in key:  # scores that differ
            state[key] = 0.1 * state[key]
    torch.save(state, folder / "m.pth")
    (folder / "classes.json").write_text(json.dumps(annotations(NAMES)))
    (folder / "images").mkdir()
    for i, image in enumerate(random_images(5, SIDE, SIDE)):
        assert cv2.imwrite(str(folder / "images" / f"{i}.png"), image)
    return folder


@pytest.fixture(scope="module")
def teacher(folder: Path) -> NanoDet:
    """Return the detector as it runs. Do not change it."""
    detector = read_teacher(folder / "m.pth", NAME, NAMES)
    assert isinstance(detector, NanoDet)
    return detector


def image_files(folder: Path) -> list[Path]:
    return sorted((folder / "images").iterdir())


def student_spec() -> StudentSpec:
    return StudentSpec(NAME, len(NAMES), "stage2a", qualities=2, encoder=LIGHT, decoder=DECODER)


@pytest.fixture(scope="module")
def student(teacher: NanoDet, folder: Path) -> Student:
    torch.manual_seed(0)
    made = Student(student_spec())
    made.take_tail(teacher)
    start_front(made, teacher, image_files(folder), SIDE, (2.0, 0.1))
    return made.eval()


@pytest.fixture(scope="module")
def bundle(teacher: NanoDet, student: Student, folder: Path) -> Path:
    """Return a bundle of a front as it begins. Do not change it: it is made once."""
    manifest = Manifest("small", NAME, "stage2a", SIDE, NAMES, 2, LIGHT, DECODER, {})
    export_bundle(folder / "small", manifest, student, teacher, image_files(folder))
    return folder / "small"


def test_all_components_at_a_fine_step_say_what_the_whole_detector_says(teacher, folder, tmp_path):
    plan = PcaPlan(NAME, NAMES, "stage3", SIDE, rank=1024, steps=(1.0, 0.02))
    export_pca(tmp_path / "free", teacher, image_files(folder), plan)
    device, server = load_device(tmp_path / "free"), load_server(tmp_path / "free")
    contender = SplitSystem(device, server, OperatingPoint(Codec.RANS, 1, 1))
    frame = random_images(1, SIDE, SIDE, seed=3)[0]
    box = Letterbox.fit(SIDE, SIDE, SIDE)
    with torch.inference_mode():
        raw = contender.raw(contender.compress(frame, box), box)
        whole = teacher(image_input(frame, SIDE)[None])
    assert (raw - whole).abs().mean() < 0.05 * whole.std()


def test_a_front_begins_as_principal_components_alone(student):
    features = torch.randn(1, 116, 8, 8)
    with torch.inference_mode():
        latent = student.encoder.analysis(features)
        assert torch.equal(latent, student.encoder.analysis.linear(features))
        decoded = student.decoder(received(latent))["stage2a"]
        torch.testing.assert_close(decoded, student.decoder.linear["stage2a"](latent))


def test_everything_learns_and_large_filters_of_the_rest_stay(teacher, folder):
    task = Distillation(
        DistillConfig(SIDE, RECIPE),
        student_spec(),
        teacher,
        lambda made, one: start_front(made, one, image_files(folder), SIDE, (2.0, 0.1)),
    )
    before = {name: value.clone() for name, value in task.student.tail.named_parameters()}
    figures = [task.train(random_images(2), progress) for progress in (0.0, RECIPE.tail_from, 0.5)]
    assert figures[0].keys() >= {"stage2", "stage3", "p3", "p4", "p5", "raw", "bpp0"} - {"bpp0"}
    assert all(np.isfinite(value).all() for one in figures for value in one.values())
    after = dict(task.student.tail.named_parameters())
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    large = {n for n, m in task.student.tail.named_modules() if isinstance(m, CheapDepthwise) and m.kernel_size[0] == 5}
    assert len(large) == 16 and not {f"{n}.weight" for n in large} & changed
    assert "head.gfl_cls.0.weight" in changed and "backbone.stage2.3.branch2.0.weight" in changed


def test_the_rest_of_the_detector_waits(teacher):
    task = Distillation(DistillConfig(SIDE, RECIPE), student_spec(), teacher)
    task.train(random_images(2), RECIPE.tail_from / 2)
    assert all(parameter.grad is None for parameter in task.student.tail.parameters())


def test_a_bundle_is_stored_and_gives_the_same_again(bundle, student):
    manifest = load_manifest(bundle)
    assert manifest.encoder == LIGHT and manifest.sides == (32, 64)
    device, server = load_device(bundle), load_server(bundle)
    contender = SplitSystem(device, server, OperatingPoint(Codec.RANS, 2, 1))
    frame = random_images(1, SIDE, SIDE, seed=3)[0]
    box = Letterbox.fit(SIDE, SIDE, SIDE)
    with torch.inference_mode():
        raw = contender.raw(contender.compress(frame, box), box)
        latent = student.encoder(image_input(frame, SIDE)[None])
        gain, inverse = (each[0, 1][:, None, None] for each in student.quantiser.gains())
        expected = student.tail.trace(student.decoder(received((latent * gain).round() * inverse)))["raw"]
    # Weights are stored in half precision, so a few symbols are other ones.
    assert (raw - expected).abs().mean() < 0.1 * expected.std()


@pytest.mark.skipif(not is_installed(), reason="needs ONNX Runtime")
def test_device_and_server_may_run_it_by_onnx_runtime(bundle):
    server = load_server(bundle).half
    fast_server = OnnxModule(exported(server, received(torch.zeros(1, 12, 4, 4))), threads=1)
    sizes = ((4, 4), (3, 4), (2, 1))  # another batch than the example
    latents = torch.stack([received(torch.randn(12, *size)) for size in sizes])
    with torch.inference_mode():
        torch.testing.assert_close(fast_server(latents), server(latents), rtol=1e-3, atol=1e-3)
    frame = random_images(1, 64, 48)[0]
    plain, fast = (load_device(bundle).encoder for _ in range(2))
    fast.use_onnxruntime(1)
    torch.testing.assert_close(fast.latent(frame, 2), plain.latent(frame, 2), rtol=1e-3, atol=1e-4)


def test_the_same_server_and_client_run_it(start, bundle, folder, tmp_path):  # noqa: F811
    server, address = serve(start, bundle)
    out = tmp_path / "out.jsonl"
    options = ["--schedule", "w1 q0, w2 q1 zstd, jpeg 40", "--schedule-frames", "1", "--as-fast-as-possible"]
    where = ["--server", address, "--bundle", str(bundle), "--source", str(folder / "images"), "--out", str(out)]
    command = [sys.executable, "-m", "edge_client", "run", *where, *options]
    client = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert client.returncode == 0, client.stderr
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert {record["codec"] for record in records} == {"rans", "zstd", "jpeg"}
    server.terminate()
    assert server.wait(20) == 0


def test_a_bundle_without_training_is_made(folder, tmp_path):
    files = folder / "m.pth", folder / "classes.json", [folder / "images"], tmp_path / "free"
    make_bundle(PcaSettings(*files, detector=NAME, split_point="stage2", rank=8, input_size=SIDE, fit_limit=2))
    assert load_manifest(tmp_path / "free").detector == NAME


def test_its_cuts_are_studied(folder, tmp_path):
    labelled = write_labelled(tmp_path / "labelled", NAMES)
    settings = SplitPointsSettings(
        folder / "m.pth",
        labelled.parent,
        tmp_path / "study.json",
        model=NAME,
        annotations=labelled,
        fit_images=folder / "images",
        cuts=("stage2a", "stage4"),
        input_size=SIDE,
        limit=1,
    )
    record = run_study(settings)
    assert [one["cut"] for one in record["cuts"]] == ["stage2a", "stage4"]
    tensors = [tuple(t["shape"]) for t in record["cuts"][1]["tensors"]]
    assert tensors == [(116, 8, 8), (232, 4, 4), (464, 2, 2)]


def test_server_and_device_find_the_same_in_a_picture(bundle, monkeypatch):
    monkeypatch.setattr(NanoDetArchitecture.detections, "__defaults__", (0.02,))
    model = BundleModel(load_server(bundle), torch.device("cpu"))
    frame = random_images(1, 48, 64, seed=4)[0]  # on the square it is stretched
    letterbox = Letterbox.fit(64, 48, SIDE)
    sent = DecodedFrame(letterbox.apply(frame), OperatingPoint(Codec.JPEG, 0, 100), letterbox)
    (expected,) = model.infer(Mode.IMAGE, [sent])
    local = load_local(bundle, load_manifest(bundle), "cpu")
    assert local is not None
    _, found = local.detect(frame)
    assert len(found) == len(expected) > 0
    assert found.scores == pytest.approx(expected.scores, abs=1e-3)
    assert found.boxes == pytest.approx(expected.boxes, abs=0.1)


def test_the_engine_says_what_the_evaluation_says(bundle):
    device, server = load_device(bundle), load_server(bundle)
    point = OperatingPoint(Codec.RANS, 1, 1)
    frame = random_images(1, 48, 64, seed=5)[0]
    contender = SplitSystem(device, server, point)
    box = contender.fit(64, 48)
    assert (box.canvas_width, box.canvas_height) == (32, 32)  # stretched
    payload = contender.compress(frame, box)
    _, symbols = server.codec.decompress(payload)
    model = BundleModel(server, torch.device("cpu"))
    with torch.inference_mode():
        expected = contender.raw(payload, box)
        torch.testing.assert_close(model.raw(Mode.SPLIT, [DecodedFrame(symbols, point, box)]), expected)
