"""A distillation that begins with what another one has learnt."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from splitnet.bundle import load_device, load_server
from splitnet.errors import BundleError, ConfigError
from splitnet.letterbox import Letterbox
from splitnet.manifest import Manifest
from splitnet.nn.yolox.network import YOLOX
from splitnet.settings import DEFAULT_BUNDLE
from tests.support.labelled_images import annotations
from tests.support.tiny_bundle import write_tiny_bundle
from tests.support.tiny_student import (
    CLASSES,
    DECODER,
    ENCODER,
    FRONT,
    SQUARE,
    front_spec,
    make_teacher,
    random_images,
    student_spec,
    write_random_images,
)
from training.detectors.detector_file import DetectorNote, write_detector
from training.distill import train_split
from training.distillation.export import export_bundle, refined
from training.distillation.front_start import MIN_SPREAD, set_densities, start_front
from training.distillation.plan import student_spec as student_spec_of
from training.distillation.recipe import FRONT as RECIPE
from training.distillation.settings import DistillSettings
from training.distillation.start import learnt_from, trained_gains
from training.distillation.student import Student, StudentSpec
from training.distillation.task import Distillation, DistillConfig
from training.loop.run import CHECKPOINT, JOURNAL, Run

INPUT_SIZE = 128
NAMES = tuple(f"class {i}" for i in range(CLASSES))
OTHER_NAMES = ("car", "bus", "van")
SPEC = front_spec()
OTHER_CLASSES = replace(SPEC, classes=2)
CONFIG = DistillConfig(SQUARE, replace(RECIPE, prices=(2.0, 0.2)))


@pytest.fixture(scope="module")
def image_paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_random_images(tmp_path_factory.mktemp("images"), 4, 120, 160)


@pytest.fixture(scope="module")
def trained(image_paths: list[Path]) -> Student:
    """Return a student whose every weight differs from where it began."""
    teacher = make_teacher(1)
    student = Student(SPEC)
    student.take_tail(teacher)
    start_front(student, teacher, image_paths, INPUT_SIZE)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return student.eval()


@pytest.fixture(scope="module")
def bundle(trained: Student, image_paths: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bundle of three qualities, two of them trained."""
    folder = tmp_path_factory.mktemp("bundle")
    manifest = Manifest("front", "yolox-nano", "dark3", INPUT_SIZE, NAMES, 3, FRONT, DECODER, {})
    export_bundle(folder, manifest, trained, None, image_paths[:2])
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of one step."""
    return make_run(tmp_path_factory.mktemp("run"), SPEC, NAMES)


def make_run(folder: Path, spec: StudentSpec, names: tuple[str, ...]) -> Path:
    config = replace(CONFIG, recipe=replace(RECIPE, prices=tuple(1.0 for _ in range(spec.qualities))))
    task = Distillation(config, spec, make_teacher(1), class_names=names)
    Run(task, folder, 1).go([random_images(2)])
    return folder


def begun(path: Path, image_paths: list[Path], spec: StudentSpec = SPEC, names: tuple[str, ...] = NAMES) -> Student:
    """Return a student that begins with what is learnt; its tail was the teacher's before."""
    torch.manual_seed(3)
    student = Student(spec)
    student.take_tail(teacher_of(spec))
    learnt = learnt_from(path, spec, names)
    assert learnt is not None
    learnt.give(student, image_paths, INPUT_SIZE)
    return student


def teacher_of(spec: StudentSpec) -> YOLOX:
    torch.manual_seed(2)
    return YOLOX("yolox-nano", spec.classes)


def assert_same(ours: nn.Module, theirs: nn.Module, tolerance: float = 0.0) -> None:
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=tolerance, atol=tolerance)


def test_a_bundle_gives_all_that_was_trained(bundle, trained, image_paths):
    student = begun(bundle, image_paths)
    for name in ("encoder", "decoder", "tail"):
        assert_same(getattr(student, name), getattr(trained, name), tolerance=2e-3)  # stored in half precision
    for ours, theirs in zip(student.quantiser.gains(), trained.quantiser.gains(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_densities_are_those_of_symbols_on_images(bundle, trained, image_paths):
    student, device = begun(bundle, image_paths), load_device(bundle)
    frames = [cv2.imread(str(path)) for path in image_paths]
    canvases = [Letterbox.fit(160, 120, INPUT_SIZE).apply(frame) for frame in frames]
    symbols = [device.encoder.encode(canvas, 2, 2).reshape(FRONT.latent_channels, -1) for canvas in canvases]
    medians = np.median(np.concatenate(symbols, axis=1), axis=1)  # of the finest quality, which was trained
    assert np.abs(medians - student.quantiser.location[0, 1].detach().numpy()).max() <= 1.0  # rounding apart


def test_a_density_has_the_median_and_the_deviation_of_its_symbols():
    quantiser = Student(SPEC).quantiser
    latent = torch.zeros(FRONT.latent_channels, 5)
    latent[0] = torch.tensor([1.0, 2.0, 3.0, 5.0, 9.0])
    set_densities(quantiser, latent)
    gain = quantiser.log_gain[0, :, 0].exp()
    torch.testing.assert_close(quantiser.location[0, :, 0], 3 * gain)
    torch.testing.assert_close(quantiser.log_scale[0, :, 0].exp(), 0.75 * 2.2 * gain)  # (2+1+0+2+6) / 5
    torch.testing.assert_close(quantiser.log_scale[0, :, 1].exp(), torch.full((2,), 0.75 * MIN_SPREAD))


def test_of_a_bundle_with_other_classes_the_tail_is_the_teachers(bundle, trained, image_paths, caplog):
    with caplog.at_level(logging.INFO):
        student = begun(bundle, image_paths, OTHER_CLASSES, OTHER_NAMES[:2])
    assert_same(student.encoder, trained.encoder, tolerance=2e-3)
    assert_same(student.decoder, trained.decoder, tolerance=2e-3)
    own = teacher_of(OTHER_CLASSES).state_dict()
    assert all(torch.equal(value, own[name]) for name, value in student.tail.state_dict().items())
    assert f"taken from {bundle}: encoder, quantiser, decoder; the rest of the detector is the teacher's" in caplog.text


def test_as_many_classes_of_other_names_are_other_classes(bundle, run, image_paths, caplog):
    own = teacher_of(SPEC).state_dict()
    for path in (bundle, run):
        student = begun(path, image_paths, names=OTHER_NAMES)
        assert all(torch.equal(value, own[name]) for name, value in student.tail.state_dict().items())
    with caplog.at_level(logging.INFO):
        begun(bundle, image_paths)
    assert f"taken from {bundle}: encoder, quantiser, decoder and the rest of the detector" in caplog.text


def test_a_run_that_trained_the_same_is_gone_on_with_as_a_whole(run):
    assert learnt_from(run, SPEC, NAMES) is None


def test_a_run_of_other_classes_gives_its_average_but_the_tail(run, image_paths):
    student = begun(run, image_paths, OTHER_CLASSES, OTHER_NAMES[:2])
    average = torch.load(run / CHECKPOINT, weights_only=True)["average"]
    for name, value in student.state_dict().items():
        if not name.startswith("tail."):
            torch.testing.assert_close(value, average[name], rtol=0, atol=0)
    assert_same(student.tail, YOLOX("yolox-nano", 2, "dark3").eval(), tolerance=1e9)  # of two classes it is


def test_a_front_may_have_other_sides(run, bundle, trained, image_paths):
    spec = replace(SPEC, encoder=replace(FRONT, sides=(96,)))
    assert_same(begun(bundle, image_paths, spec).encoder, trained.encoder, tolerance=2e-3)
    student = begun(run, image_paths, spec)
    average = torch.load(run / CHECKPOINT, weights_only=True)["average"]
    assert all(torch.equal(value, average[name]) for name, value in student.state_dict().items())


def test_an_ensembles_run_is_taken_too(tmp_path, image_paths):
    spec = student_spec()
    student = begun(make_run(tmp_path, spec, NAMES), image_paths, replace(spec, classes=2), OTHER_NAMES[:2])
    average = torch.load(tmp_path / CHECKPOINT, weights_only=True)["average"]
    assert all(torch.equal(v, average[k]) for k, v in student.state_dict().items() if not k.startswith("tail."))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"detector": "yolox-tiny"}, "has the detector yolox-nano, not yolox-tiny"),
        ({"split_point": "dark4"}, "has the split point dark3, not dark4"),
        ({"encoder": ENCODER}, "an encoder of the kind front, not ensemble"),
        ({"encoder": replace(FRONT, blocks=2)}, "an encoder of other sizes"),
        ({"decoder": replace(DECODER, channels=16)}, "a decoder of other sizes"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_is_refused(bundle, run, change, message):
    for path in (bundle, run):
        with pytest.raises(ConfigError, match=message):
            learnt_from(path, replace(SPEC, **change), NAMES)


def test_qualities_that_were_not_trained_are_refused(bundle, run):
    with pytest.raises(ConfigError, match="4 trained qualities do not lie evenly among a bundle's 3"):
        learnt_from(bundle, replace(SPEC, qualities=4), NAMES)
    with pytest.raises(ConfigError, match="has 2 trained qualities, not 3"):
        learnt_from(run, replace(SPEC, qualities=3), NAMES)


def test_a_bundle_whose_networks_are_merged_is_refused(tmp_path):
    manifest = write_tiny_bundle(tmp_path)
    spec = StudentSpec("yolox-nano", 80, "dark3", 3, manifest.encoder, manifest.decoder)
    with pytest.raises(ConfigError, match="only a front can be trained further; give the --run of its training"):
        learnt_from(tmp_path, spec, manifest.class_names)


def test_a_damaged_bundle_is_refused(bundle, tmp_path):
    for path in bundle.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    data = bytearray((bundle / "encoder.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "encoder.safetensors").write_bytes(data)
    with pytest.raises(BundleError, match="copy the bundle again"):
        learnt_from(tmp_path, SPEC, NAMES)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no checkpoint\.pt and is no bundle to start from"):
        learnt_from(tmp_path, SPEC, NAMES)
    torch.save({"step": 1, "recompressed": {}}, tmp_path / CHECKPOINT)
    with pytest.raises(ConfigError, match="is not the run of a `distill`"):
        learnt_from(tmp_path, SPEC, NAMES)


@pytest.mark.parametrize(("trained", "finer"), [(6, 11), (6, 6), (2, 5), (1, 1), (1, 4)])
def test_trained_gains_are_found_again_among_the_finer_ones(trained, finer):
    if trained == 1 < finer:
        with pytest.raises(ConfigError, match="1 trained qualities do not lie evenly"):
            trained_gains(torch.ones(3, finer, 2), trained)
        return
    gains = torch.rand(1, trained, 5) + 0.1
    torch.testing.assert_close(trained_gains(refined(gains, 3, finer), trained), gains)


def test_a_checkpoint_of_other_classes_is_not_gone_on_with(run):
    task = Distillation(CONFIG, SPEC, make_teacher(1), class_names=OTHER_NAMES)
    with pytest.raises(ConfigError, match="made with other classes; give another --run"):
        Run(task, run, 2).resume()


@pytest.mark.parametrize(
    ("bundle", "detector", "split_point"),
    [("coco-nano", "yolox-nano", "dark3"), ("coco-plus", "nanodet-plus-m-1.5x", "stage2a")],
)
def test_the_bundles_that_come_along_may_be_started_from_as_they_are(bundle, detector, split_point):
    needed = {name: Path(name) for name in ("teacher", "classes", "run", "bundle")}
    chosen = DistillSettings(**needed, images=[Path("images")], detector=detector, split_point=split_point)
    spec = student_spec_of(chosen, 2)
    learnt = learnt_from(DEFAULT_BUNDLE.parent / bundle, spec, ("car", "bus"))
    assert learnt is not None
    assert set(learnt.weights) == {
        name
        for name in Student(spec).state_dict()
        if not name.startswith(("tail.", "quantiser.location", "quantiser.log_scale"))
    }


def test_a_detector_of_ones_own_begins_with_a_bundle_of_another(tmp_path):
    def split(names: tuple[str, ...], name: str, **more: object) -> Path:
        detector = YOLOX("yolox-nano", len(names))
        (tmp_path / name).mkdir()
        write_detector(tmp_path / name, detector.state_dict(), DetectorNote("yolox-nano", names, 64, "here", 1))
        (tmp_path / f"{name}.json").write_text(json.dumps(annotations(names)))
        train_split(
            DistillSettings(
                teacher=tmp_path / name,
                classes=tmp_path / f"{name}.json",
                images=[tmp_path / "images"],
                run=tmp_path / f"{name}-run",
                bundle=tmp_path / f"{name}-bundle",
                batch_size=2,
                square=32,
                table_images=1,
                device="cpu",
                **more,
            )
        )
        return tmp_path / f"{name}-bundle"

    (tmp_path / "images").mkdir()
    write_random_images(tmp_path / "images", 2, 72, 96)
    first = split(("person", "cup"), "first", steps=1, sides=[32, 64])
    second = split(("car", "bus", "van"), "second", steps=4, start_from=first, start_progress=0.75)
    assert [json.loads(line)["step"] for line in (tmp_path / "second-run" / JOURNAL).read_text().splitlines()] == [4]
    assert torch.load(tmp_path / "second-run" / CHECKPOINT, weights_only=True)["updates"] == 1  # one step, the last
    old, new = (load_device(folder) for folder in (first, second))
    assert new.manifest.class_names == ("car", "bus", "van")
    assert new.manifest.origin == "here Encoder and decoder began with those of the bundle first-bundle."
    assert new.encoder.qualities == old.encoder.qualities == 11
    image = random_images(1, 48, 64)[0]
    latents = [half.encoder.latent(image, half.encoder.widths) for half in (old, new)]
    assert float((latents[1] - latents[0]).std() / latents[0].std()) < 0.2  # one short step away
    assert load_server(second).detector is not None
