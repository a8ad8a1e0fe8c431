"""The command line of training: whole runs on a handful of images, and every mistake in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from splitnet.bundle import load_device, load_server
from splitnet.manifest import load_manifest
from splitnet.measured_point import MeasuredPoint
from splitnet.nn.yolox.network import YOLOX
from tests.support.labelled_images import annotations, write_labelled
from tests.support.tiny_bundle import write_tiny_bundle
from tests.support.tiny_student import CLASSES, make_teacher, random_images
from training import __main__ as module
from training import evaluate as evaluate_run
from training.__main__ import main
from training.evaluation.measure import Evaluation
from training.loop.run import CHECKPOINT, JOURNAL

NAMES = ("person", "cup", "cat")
assert len(NAMES) == CLASSES


@pytest.fixture(autouse=True)
def _keep_settings():
    """Undo what a command sets for its whole process."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def write_onnx(path: Path, detector: YOLOX) -> None:
    """Write the convolutions of a fused detector in order of execution, as its public export has them."""
    order: list[torch.nn.Conv2d] = []
    for layer in detector.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda layer, *_: order.append(layer))
    with torch.no_grad():
        detector(torch.zeros(1, 3, 64, 64))
    nodes, weights = [], []
    for i, layer in enumerate(order):
        for name, tensor in ((f"w{i}", layer.weight), (f"b{i}", layer.bias)):
            weights.append(numpy_helper.from_array(tensor.detach().numpy(), name))
        nodes.append(helper.make_node("Conv", [f"x{i}", f"w{i}", f"b{i}"], [f"x{i + 1}"]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x0", f"x{len(order)}")]
    onnx.save(helper.make_model(helper.make_graph(nodes, "detector", ends[:1], ends[1:], weights)), str(path))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a teacher, its classes and images."""
    folder = tmp_path_factory.mktemp("inputs")
    write_onnx(folder / "teacher.onnx", make_teacher())
    (folder / "classes.json").write_text(json.dumps(annotations(NAMES)))
    (folder / "images").mkdir()
    for i, image in enumerate(random_images(4, 72, 96)):
        assert cv2.imwrite(str(folder / "images" / f"{i + 100}.png"), image)
    return folder


def words(command: str, inputs: Path, out: Path, **changes: object) -> list[str]:
    """Return the arguments of a training; a changed one replaces the usual, None leaves it out."""
    options: dict[str, object] = {
        "teacher": inputs / "teacher.onnx",
        "classes": inputs / "classes.json",
        "images": inputs / "images",
        "run": out / command,
        "steps": 3,
        "batch-size": 2,
        "square": 32,
        "threads": 1,
        "device": "cpu",
    }
    if command == "distill":
        options |= {"bundle": out / "bundle", "table-images": 1}
    options |= {name.replace("_", "-"): value for name, value in changes.items()}
    given = {name: value for name, value in options.items() if value is not None}
    return [command, *(word for name, value in given.items() for word in (f"--{name}", str(value)))]


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the message of a refused command: the last line on stderr, without a traceback."""
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Traceback" not in shown.err
    return shown.err.splitlines()[-1]


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    line = one_line(capsys)
    assert line.startswith("training: ")
    return line


def test_help_names_the_commands(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in ("distill", "recompress", "evaluate"))


@pytest.mark.parametrize("command", ["distill", "recompress", "evaluate"])
def test_help_explains_every_option(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert "(default: None)" not in shown
    assert "--threads N" in shown


def test_without_a_command_the_help_is_shown(capsys):
    assert main([]) == 2
    assert "measure AP" in capsys.readouterr().out


@pytest.mark.slow
def test_a_detector_is_recompressed_then_split_then_measured(inputs, tmp_path, capsys):
    assert main(words("recompress", inputs, tmp_path, steps=1)) == 0
    assert main(words("distill", inputs, tmp_path, unsplit=tmp_path / "recompress")) == 0
    assert "now measure it" in capsys.readouterr().out
    assert len((tmp_path / "distill" / JOURNAL).read_text().splitlines()) == 1
    bundle = tmp_path / "bundle"
    manifest = load_manifest(bundle)
    assert (manifest.name, manifest.class_names, manifest.input_size) == ("bundle", NAMES, 416)
    assert "Megvii" in manifest.origin
    recompressed = torch.load(tmp_path / "recompress" / CHECKPOINT, weights_only=True)["average"]
    detector = load_server(bundle).detector
    assert detector is not None
    for name, value in detector.state_dict().items():
        torch.testing.assert_close(value, recompressed[name], rtol=1e-3, atol=1e-4)
    symbols = load_device(bundle).encoder.encode(np.zeros((64, 48, 3), np.uint8), 4, 5)
    assert symbols.shape == (manifest.latent_channels, 4, 3)
    # The same command again: nothing is left to train, and the same bundle is written.
    assert main(words("distill", inputs, tmp_path, unsplit=tmp_path / "recompress")) == 0
    assert load_manifest(bundle).digest == manifest.digest


def test_a_run_of_another_kind_is_refused(inputs, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    torch.save({"step": 1, "recompressed": {}}, tmp_path / "run" / CHECKPOINT)
    assert "give another --run" in refusal(words("distill", inputs, tmp_path, run=tmp_path / "run"), capsys)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher": "nowhere.onnx"}, "nowhere.onnx: not a readable ONNX file"),
        ({"classes": "nowhere.json"}, "nowhere.json is not a COCO annotation file"),
        ({"images": "nowhere"}, "nowhere is not a folder of images"),
        ({"exclude": "nowhere.json"}, "nowhere.json is not a COCO annotation file"),
        ({"detector": "yolox-tiny"}, "is it another detector"),
        ({"square": 48}, "must be a multiple of 32"),
        ({"unsplit": "nowhere"}, "run `python -m training recompress` first"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_used_is_said_in_one_line(inputs, tmp_path, capsys, changes, message):
    assert message in refusal(words("distill", inputs, tmp_path, **changes), capsys)
    assert not (tmp_path / "distill" / CHECKPOINT).exists()


def test_folders_of_nothing_but_evaluation_images_are_said(inputs, tmp_path, capsys):
    excluded = tmp_path / "val.json"
    excluded.write_text(json.dumps({"images": [{"file_name": f"{i}.png"} for i in range(200)]}))
    line = refusal(words("recompress", inputs, tmp_path, exclude=excluded), capsys)
    assert "4 excluded as evaluation images" in line


def test_a_run_that_is_a_file_is_said(inputs, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert "cannot write to" in refusal(words("recompress", inputs, tmp_path, run=tmp_path / "file"), capsys)


def test_cuda_where_there_is_none_is_said(inputs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "use --device cpu" in refusal(words("recompress", inputs, tmp_path, device="cuda"), capsys)


@pytest.mark.parametrize("option", ["steps", "batch-size", "loaders", "threads", "table-images"])
@pytest.mark.parametrize("value", ["0", "-3", "1.5", "many"])
def test_a_number_that_is_no_count_is_refused(inputs, tmp_path, capsys, option, value):
    with pytest.raises(SystemExit) as caught:
        main(words("distill", inputs, tmp_path, **{option: value}))
    assert caught.value.code == 2
    assert f"--{option}: {value!r} is not a whole number from 1 on" in one_line(capsys)


@pytest.mark.parametrize("option", ["teacher", "classes", "images", "run", "bundle"])
def test_what_is_needed_must_be_given(inputs, tmp_path, capsys, option):
    with pytest.raises(SystemExit) as caught:
        main(words("distill", inputs, tmp_path, **{option: None}))
    assert caught.value.code == 2
    assert f"--{option}" in one_line(capsys)


@pytest.mark.parametrize(("command", "hint"), [("recompress", True), ("evaluate", False)])
def test_ctrl_c_ends_in_one_line_that_says_what_is_left(inputs, tmp_path, capsys, monkeypatch, command, hint):
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    commands = [replace(one, run=interrupted) if one.name == command else one for one in module.COMMANDS]
    monkeypatch.setattr(module, "COMMANDS", commands)
    arguments = words(command, inputs, tmp_path) if hint else measuring(tmp_path, tmp_path)
    assert main(arguments) == 130
    assert ("goes on from the last checkpoint" in one_line(capsys)) == hint


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    write_labelled(folder, tuple(f"class {i}" for i in range(80)))
    return folder


def measuring(bundle: Path, labelled: Path, *more: str) -> list[str]:
    folders = ["--bundle", str(bundle), "--images", str(labelled), "--annotations", str(labelled / "annotations.json")]
    return ["evaluate", *folders, "--out", str(bundle.parent / "out" / "figures.json"), *more]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_tiny_bundle(tmp_path / "tiny")
    return tmp_path / "tiny"


def test_figures_go_to_a_file_a_table_and_the_manifest(bundle, labelled, capsys):
    digest = load_manifest(bundle).digest
    assert main(measuring(bundle, labelled, "--widths", "1", "4", "--write-manifest")) == 0
    record = json.loads((bundle.parent / "out" / "figures.json").read_text())
    assert set(record) == {"unsplit", "local", "points", "images", "commit", "machine"}
    assert set(record["unsplit"]) == {"ap", "ap50"}
    assert record["images"] == 3
    splits = [point for point in record["points"] if point["mode"] == "split"]
    assert {(point["width"], point["quality"]) for point in splits} == {(w, q) for w in (1, 4) for q in range(3)}
    keys = {"mode", "codec", "width", "quality", "ap", "ap50", "bytes_mean", "bytes_p90", "encode_ms_p50", "mmacs"}
    assert all(set(point) == keys for point in record["points"])
    table = capsys.readouterr().out
    assert all(name in table for name in ("unsplit, uncompressed", "w1 q0", "w4 q2", "jpeg 30", "webp 40"))
    assert table.splitlines()[-1].endswith(("for it.", "does not reach it."))
    manifest = load_manifest(bundle)
    assert len(manifest.points) == len(record["points"])
    assert manifest.digest == digest


def test_dominated_points_are_marked_and_left_out_of_the_manifest(bundle, labelled, capsys):
    assert main(measuring(bundle, labelled, "--write-manifest", "--prune")) == 0
    record = json.loads((bundle.parent / "out" / "figures.json").read_text())
    table, kept = capsys.readouterr().out, load_manifest(bundle).points
    gone = {row["point"]: row["dominated_by"] for row in record["pruned"]}
    assert 0 < len(gone) == len(record["points"]) - len(kept)  # of random weights nearly all find nothing
    assert not gone.keys() & {str(point.point) for point in kept}
    marked = {" ".join(line.split()[:2]): " ".join(line.split()[-2:]) for line in table.splitlines()}
    assert all(marked[name] == by for name, by in gone.items())
    assert f"left out of the manifest: {len(gone)} of {len(record['points'])} points" in table


def test_other_images_may_choose_what_is_left_out(bundle, labelled, tmp_path, capsys, monkeypatch):
    other = tmp_path / "other"
    write_labelled(other, tuple(f"class {i}" for i in range(80)))
    seen = []

    def measured(device, server, images, points, cache):
        seen.append(images.images[0].path.parent)
        worst = 0 if images.images[0].path.parent == other else 1
        row = [MeasuredPoint(p.mode, p.codec, p.width, p.quality, 9.0, 9.0, 9.0, 9.0, 9.0, 9.0) for p in points[:2]]
        row[worst] = replace(row[worst], ap=1.0)
        return Evaluation(None, tuple(row))

    monkeypatch.setattr(evaluate_run, "evaluate", measured)
    choosing = ["--choose-on", str(other / "annotations.json"), "--choose-images", str(other)]
    assert main(measuring(bundle, labelled, "--write-manifest", "--prune", *choosing)) == 0
    record = json.loads((bundle.parent / "out" / "figures.json").read_text())
    assert seen == [labelled, other]
    assert (record["pruned"], record["chosen_on"]) == ([{"point": "w1 q0", "dominated_by": "w1 q1"}], 3)
    (kept,) = load_manifest(bundle).points
    assert (kept.quality, kept.ap) == (1, 1.0)  # as measured on the images that chose nothing
    assert "left out of the manifest: 1 of 2 points" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--choose-on", "a.json"], "--choose-on is about what --prune"), (["--choose-images", "a"], "give that too")],
)
def test_images_that_choose_nothing_are_refused(bundle, labelled, capsys, words, said):
    assert said in refusal(measuring(bundle, labelled, *words), capsys)


def test_pruning_what_is_not_stored_is_refused(bundle, labelled, capsys):
    assert "give both" in refusal(measuring(bundle, labelled, "--prune"), capsys)


def test_a_quick_look_takes_the_first_images_and_leaves_the_manifest(bundle, labelled):
    assert main(measuring(bundle, labelled, "--limit", "1", "--widths", "2", "--no-images")) == 0
    record = json.loads((bundle.parent / "out" / "figures.json").read_text())
    assert record["images"] == 1
    assert [point["mode"] for point in record["points"]] == ["split"] * 3
    assert load_manifest(bundle).points == ()


def test_figures_of_a_quick_look_are_not_stored(bundle, labelled, capsys):
    line = refusal(measuring(bundle, labelled, "--limit", "1", "--write-manifest"), capsys)
    assert "leave --limit out" in line


def test_an_out_that_cannot_be_written_is_said_before_measuring(bundle, labelled, capsys, monkeypatch):
    monkeypatch.setattr(evaluate_run, "evaluate", lambda *_: pytest.fail("measured in vain"))
    (bundle.parent / "out").touch()
    assert "out" in refusal(measuring(bundle, labelled), capsys)


def test_a_missing_bundle_is_said(labelled, tmp_path, capsys):
    assert "is not a bundle" in refusal(measuring(tmp_path / "nowhere", labelled), capsys)


def test_images_that_are_not_labelled_are_said(bundle, labelled, tmp_path, capsys):
    arguments = measuring(bundle, labelled)
    arguments[arguments.index("--images") + 1] = str(tmp_path)
    assert "3 x image is missing, left out" in refusal(arguments, capsys)


@pytest.mark.parametrize("limit", ["0", "-1"])
def test_a_limit_that_is_no_count_is_refused(bundle, labelled, capsys, limit):
    with pytest.raises(SystemExit):
        main(measuring(bundle, labelled, "--limit", limit))
    assert "--limit" in one_line(capsys)
