"""Detectors from checkpoints of every kind, and every wrong one named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from splitnet.errors import ConfigError
from splitnet.nn.yolox.network import FAMILY, YOLOX
from tests.support.tiny_student import CLASSES, make_teacher
from tests.training.test_main import write_onnx
from training.detectors.detector_file import DETECTOR_FILE, DetectorNote, read_note, write_detector
from training.detectors.teacher import origin_of, read_teacher
from training.detectors.yolox.weights import classes_of, from_state, is_folded, read_yolox, size_of

NAMES = ("person", "cup", "cat")
NOTE = DetectorNote("yolox-nano", NAMES, 64, "trained somewhere", 7, 12.5)


@pytest.fixture(scope="module")
def nano() -> YOLOX:
    torch.manual_seed(0)
    return YOLOX("yolox-nano", CLASSES, fused=False)


def public(path: Path, detector: YOLOX, prefix: str = "") -> Path:
    """Write a checkpoint as the public ones are: weights under "model", beside what training needed."""
    state = {prefix + key: value for key, value in detector.state_dict().items()}
    torch.save({"start_epoch": 300, "model": state, "optimizer": {"state": {}, "param_groups": []}}, path)
    return path


def assert_same(ours: YOLOX, theirs: YOLOX) -> None:
    found, wanted = ours.state_dict(), theirs.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], value) for key, value in wanted.items())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_public_checkpoint_loads_unchanged(nano, tmp_path, prefix):
    assert_same(read_yolox(public(tmp_path / "nano.pth", nano, prefix), "yolox-nano"), nano)


def test_plain_weights_load_too(nano, tmp_path):
    torch.save(nano.state_dict(), tmp_path / "nano.pth")
    assert_same(read_yolox(tmp_path / "nano.pth", "yolox-nano"), nano)


def test_safetensors_load_folded_or_not(nano, tmp_path):
    for name, detector in (("plain", nano), ("folded", make_teacher())):
        path = tmp_path / f"{name}.safetensors"
        save_file({key: value.contiguous() for key, value in detector.state_dict().items()}, path)
        found = read_yolox(path, "yolox-nano")
        assert_same(found, detector)
        assert is_folded(found.state_dict()) == (name == "folded")


def test_half_precision_is_widened(tmp_path):
    save_file({key: value.half() for key, value in make_teacher().state_dict().items()}, tmp_path / "a.safetensors")
    found = read_yolox(tmp_path / "a.safetensors", "yolox-nano")
    assert {value.dtype for value in found.state_dict().values()} == {torch.float32}


def test_an_onnx_file_says_itself_how_many_classes_it_knows(tmp_path):
    detector = make_teacher()
    write_onnx(tmp_path / "nano.onnx", detector)
    found = read_yolox(tmp_path / "nano.onnx", "yolox-nano")
    assert classes_of(found) == CLASSES
    assert_same(found, detector)
    with pytest.raises(ConfigError, match="is it another detector"):
        read_yolox(tmp_path / "nano.onnx", "yolox-tiny")


@pytest.mark.parametrize("name", list(FAMILY))
def test_every_size_is_recognised_by_its_shapes(name):
    for fused in (True, False):
        with torch.device("meta"):
            assert size_of(YOLOX(name, 5, fused=fused).state_dict()) == name


def test_another_size_is_refused_by_its_name(nano, tmp_path):
    with pytest.raises(ConfigError, match=r"nano\.pth is not a yolox-s but a yolox-nano: name that one"):
        read_yolox(public(tmp_path / "nano.pth", nano), "yolox-s")


def test_a_size_that_nobody_knows_is_refused(nano):
    state = nano.state_dict()
    state["backbone.backbone.stem.conv.conv.weight"] = torch.zeros(7, 12, 3, 3)
    with pytest.raises(ConfigError, match="a YOLOX of a size that is not known here"):
        from_state(state, "yolox-nano", Path("odd.pth"))


def test_another_family_is_refused(tmp_path):
    torch.save({"model": {"backbone_net.model._conv_stem.conv.weight": torch.zeros(2)}}, tmp_path / "other.pth")
    with pytest.raises(ConfigError, match="holds no YOLOX: it has no backbone"):
        read_yolox(tmp_path / "other.pth", "yolox-nano")


def test_a_part_of_a_detector_is_refused(nano, tmp_path):
    state = nano.state_dict()
    del state["head.stems.1.bn.running_var"]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(ConfigError, match="not a whole yolox-nano"):
        read_yolox(tmp_path / "part.pth", "yolox-nano")


def test_weights_that_are_not_finite_are_refused(nano, tmp_path):
    state = {key: value.clone() for key, value in nano.state_dict().items()}
    state["head.obj_preds.0.bias"][:] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(ConfigError, match="not finite"):
        read_yolox(tmp_path / "nan.pth", "yolox-nano")


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.onnx"])
@pytest.mark.parametrize("data", [b"", b"\x80\x02nothing", b"\0" * 100])
def test_a_damaged_file_is_refused(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=r"a\.(pth|safetensors|onnx)"):
        read_yolox(tmp_path / name, "yolox-nano")


def test_a_checkpoint_never_runs_code(tmp_path):
    torch.save({"model": {"head": YOLOX}}, tmp_path / "code.pth")
    with pytest.raises(ConfigError, match="or holds more than weights: save its weights alone"):
        read_yolox(tmp_path / "code.pth", "yolox-nano")


@pytest.mark.parametrize("content", [[1], 7, {"model": [1]}])
def test_a_checkpoint_of_something_else_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(ConfigError, match=r"holds no (weights by name|YOLOX)"):
        read_yolox(tmp_path / "odd.pth", "yolox-nano")


def test_what_is_not_there_is_said(tmp_path):
    for path in (tmp_path / "nowhere.pth", tmp_path):
        with pytest.raises(ConfigError, match="give a checkpoint, a bundle or the --run of a `detector` training"):
            read_yolox(path, "yolox-nano")


def test_a_trained_detector_is_a_teacher_with_its_note(tmp_path):
    detector = make_teacher()
    write_detector(tmp_path, detector.state_dict(), NOTE)
    assert read_note(tmp_path) == read_note(tmp_path / DETECTOR_FILE) == NOTE
    assert not list(tmp_path.glob("*.partial"))
    assert_same(read_teacher(tmp_path, "yolox-nano", NAMES), detector)
    assert origin_of(tmp_path) == "trained somewhere"


def test_a_public_checkpoint_is_a_teacher_without_a_note(nano, tmp_path):
    path = public(tmp_path / "nano.pth", nano)
    teacher = read_teacher(path, "yolox-nano", NAMES)
    image = 255 * torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(teacher(image), nano.eval()(image), rtol=1e-4, atol=1e-4)
    nano.train()
    assert is_folded(teacher.state_dict())
    assert not teacher.training
    assert read_note(path) is None
    assert origin_of(path) is None


def test_a_teacher_of_other_classes_is_refused(tmp_path):
    write_detector(tmp_path, make_teacher().state_dict(), NOTE)
    with pytest.raises(ConfigError, match="knows 3 classes, but --classes names 2"):
        read_teacher(tmp_path, "yolox-nano", NAMES[:2])
    with pytest.raises(ConfigError, match=r"knows person, cup, cat \.\.\., but --classes names others"):
        read_teacher(tmp_path, "yolox-nano", NAMES[::-1])


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"detector": 3}'])
def test_a_damaged_note_is_refused(tmp_path, text):
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", {"slimsplit": text})
    with pytest.raises(ConfigError, match="has a note that is damaged"):
        read_note(tmp_path / "a.safetensors")


def test_safetensors_of_others_have_no_note(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", {"format": "pt"})
    assert read_note(tmp_path / "a.safetensors") is None
