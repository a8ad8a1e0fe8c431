"""EfficientDet checkpoints: the public kind, folded ones, and whatever else people name."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from splitnet.errors import ConfigError
from splitnet.nn.efficientdet.network import ANCHORS_PER_CELL, EfficientDet
from splitnet.nn.yolox.network import YOLOX
from training.detectors.detector_file import DetectorNote, write_detector
from training.detectors.efficientdet.weights import UNUSED, read_efficientdet, size_of
from training.detectors.family import family_of
from training.detectors.teacher import read_teacher

NAME, CLASSES = "efficientdet-d0", 2
NAMES = ("one", "two")
LAST = "class_net.predict.conv_pw.bias"


@pytest.fixture(scope="module")
def public() -> EfficientDet:
    torch.manual_seed(0)
    return EfficientDet(NAME, CLASSES, fused=False)


def of_several_gpus(state: dict[str, torch.Tensor]) -> dict[str, object]:
    return {"model": {f"module.{key}": value for key, value in state.items()}}


@pytest.mark.parametrize("nest", [lambda s: s, lambda s: {"state_dict": s}, of_several_gpus])
def test_a_public_checkpoint_is_taken_as_it_is(public, tmp_path, nest):
    torch.save(nest(public.state_dict()), tmp_path / "d0.pth")
    found = read_efficientdet(tmp_path / "d0.pth", NAME).state_dict()
    assert all(torch.equal(value, found[key]) for key, value in public.state_dict().items())


def test_of_cocos_ninety_numbers_the_eighty_with_a_name_are_kept(tmp_path):
    state = EfficientDet(NAME, 90, fused=False).state_dict()
    state[LAST] = torch.arange(1.0, 91).repeat(ANCHORS_PER_CELL)  # COCO's ids
    torch.save(state, tmp_path / "coco.pth")
    detector = read_efficientdet(tmp_path / "coco.pth", NAME)
    ids = detector.state_dict()[LAST].unflatten(0, (ANCHORS_PER_CELL, -1))
    expected = [float(i) for i in range(1, 91) if i not in UNUSED]
    assert len(expected) == 80 == family_of(NAME).classes(detector)
    assert all(row.tolist() == expected for row in ids)


def test_the_sizes_are_told_apart():
    for name in family_of(NAME).input_sizes:
        with torch.device("meta"):
            assert size_of(EfficientDet(name, 2, fused=False).state_dict()) == name
            assert size_of(EfficientDet(name, 2).state_dict()) == name


def test_what_was_trained_here_becomes_a_teacher(public, tmp_path):
    folded = family_of(NAME).deployed(public)
    write_detector(tmp_path, folded.state_dict(), DetectorNote(NAME, NAMES, 64, "trained somewhere", 7))
    teacher = read_teacher(tmp_path, NAME, NAMES)
    x = 255 * torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(teacher(x), public.eval()(x), rtol=1e-3, atol=1e-4)
    with pytest.raises(ConfigError, match="knows 2 classes, but --classes names 3"):
        read_teacher(tmp_path, NAME, (*NAMES, "three"))
    with pytest.raises(ConfigError, match=r"folded away: train an EfficientDet from a public \.pth"):
        family_of(NAME).read(tmp_path, NAME, [])


def without_bias(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k: v for k, v in state.items() if "conv_rep" not in k or not k.endswith("conv_pw.bias")}


def part(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k: v for k, v in state.items() if "blocks.3" not in k}


def spoilt(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {**state, LAST: torch.full_like(state[LAST], float("nan"))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_bias, "pads another way: take tf_efficientdet_d0, not efficientdet_d0"),
        (part, "not a whole efficientdet-d0"),
        (spoilt, "not finite"),
        (lambda _: YOLOX("yolox-nano", 2).state_dict(), "holds no EfficientDet: it has no backbone.conv_stem.weight"),
    ],
)
def test_what_is_something_else_is_named(public, tmp_path, change, message):
    torch.save(change(public.state_dict()), tmp_path / "odd.pth")
    with pytest.raises(ConfigError, match=message):
        read_efficientdet(tmp_path / "odd.pth", NAME)


def test_another_size_is_named(public, tmp_path):
    save_file(public.state_dict(), tmp_path / "d0.safetensors")
    with pytest.raises(ConfigError, match="is not a efficientdet-d2 but a efficientdet-d0: name that one"):
        read_efficientdet(tmp_path / "d0.safetensors", "efficientdet-d2")


@pytest.mark.parametrize(("name", "message"), [("a.onnx", r"not from \.onnx"), ("none.pth", "is not a file")])
def test_files_of_other_kinds_are_refused(tmp_path, name, message):
    with pytest.raises(ConfigError, match=message):
        read_efficientdet(tmp_path / name, NAME)
