"""NanoDet-Plus checkpoints: the public kind, folded ones, ONNX files, and whatever else people name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from splitnet.errors import ConfigError
from splitnet.nn.nanodet.network import NanoDet
from splitnet.nn.yolox.network import YOLOX
from tests.support.named_weights import named_weights
from training.detectors.detector_file import DetectorNote, write_detector
from training.detectors.family import family_of
from training.detectors.nanodet.auxiliary import TrainedNanoDet
from training.detectors.nanodet.weights import read_nanodet, size_of
from training.detectors.teacher import read_teacher

NAME, CLASSES = "nanodet-plus-m", 2
NAMES = ("one", "two")
State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def public() -> State:
    """Return the weights of a public checkpoint, those for training only among them."""
    return named_weights(TrainedNanoDet(NAME, CLASSES).state_dict())


@pytest.fixture(scope="module")
def plain(public: State) -> NanoDet:
    detector = NanoDet(NAME, CLASSES, fused=False).eval()
    detector.load_state_dict({key: public[key] for key in detector.state_dict()})
    return detector


def averaged(state: State) -> dict[str, object]:
    """Return a checkpoint as the public trainer writes it: the average is meant, not the last weights."""
    last = {f"model.{key}": torch.zeros_like(value) for key, value in state.items()}
    return {"state_dict": {**last, **{f"avg_model.{key}": value for key, value in state.items()}}, "epoch": 300}


@pytest.mark.parametrize(
    "nest", [lambda s: s, lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}}, averaged]
)
def test_a_public_checkpoint_is_taken_as_it_is(public, plain, tmp_path, nest):
    torch.save(nest({**public, "head.distribution_project.project": torch.arange(8.0)}), tmp_path / "m.ckpt")
    found = read_nanodet(tmp_path / "m.ckpt", NAME).state_dict()
    assert found.keys() == plain.state_dict().keys()
    assert all(torch.equal(value, found[key]) for key, value in plain.state_dict().items())


def test_the_sizes_are_told_apart():
    for name in family_of(NAME).input_sizes:
        with torch.device("meta"):
            assert size_of(NanoDet(name, 2, fused=False).state_dict()) == name
            assert size_of(NanoDet(name, 2).state_dict()) == name


def test_what_was_trained_here_becomes_a_teacher(plain, tmp_path):
    folded = family_of(NAME).deployed(plain)
    write_detector(tmp_path, folded.state_dict(), DetectorNote(NAME, NAMES, 64, "trained somewhere", 7))
    teacher = read_teacher(tmp_path, NAME, NAMES)
    x = 255 * torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = plain(x)
        assert float((teacher(x) - expected).abs().max() / expected.std()) < 1e-4


def test_normalisation_that_was_folded_away_is_restored(plain, tmp_path):
    save_file(family_of(NAME).deployed(plain).state_dict(), tmp_path / "folded.safetensors")
    x = 255 * torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    network = family_of(NAME).read(tmp_path / "folded.safetensors", NAME, [x])
    assert isinstance(network, TrainedNanoDet)
    with torch.inference_mode():
        expected = plain(x)
        assert float((network.eval()(x) - expected).abs().max() / expected.std()) < 1e-3
    assert any("running_mean" in key for key in network.state_dict())


def first_generation(state: State) -> State:
    return {key: value for key, value in state.items() if not key.startswith(("fpn.", "aux_", "head."))}


def part(state: State) -> State:
    return {key: value for key, value in state.items() if "stage3.5" not in key}


def spoilt(state: State) -> State:
    return {**state, "head.gfl_cls.0.bias": torch.full((CLASSES + 32,), float("nan"))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (first_generation, "a NanoDet of the first generation: a NanoDet-Plus is needed"),
        (part, "not a whole nanodet-plus-m"),
        (spoilt, "not finite"),
        (lambda _: YOLOX("yolox-nano", 2).state_dict(), r"holds no NanoDet-Plus: it has no backbone\.conv1\.0\.weight"),
    ],
)
def test_what_is_something_else_is_named(public, tmp_path, change, message):
    torch.save(change(public), tmp_path / "odd.pth")
    with pytest.raises(ConfigError, match=message):
        read_nanodet(tmp_path / "odd.pth", NAME)


def test_another_size_is_named(public, tmp_path):
    save_file(public, tmp_path / "m.safetensors")
    with pytest.raises(ConfigError, match=r"is not a nanodet-plus-m-1\.5x but a nanodet-plus-m: name that one"):
        read_nanodet(tmp_path / "m.safetensors", "nanodet-plus-m-1.5x")


IGNORED = "ignore::DeprecationWarning"  # of the exporter


def exported(detector: torch.nn.Module, path: Path) -> Path:
    """Write a detector as ONNX."""
    torch.onnx.export(detector, (torch.zeros(1, 3, 64, 64),), str(path), dynamo=False, opset_version=17)
    return path


@pytest.mark.filterwarnings(IGNORED)
def test_an_onnx_file_is_read_whatever_its_weights_are_called(plain, tmp_path):
    pytest.importorskip("onnx")
    folded = family_of(NAME).deployed(plain)
    found = read_nanodet(exported(folded, tmp_path / "m.onnx"), NAME)
    assert all(torch.equal(value, found.state_dict()[key]) for key, value in folded.state_dict().items())


@pytest.mark.filterwarnings(IGNORED)
def test_an_onnx_file_of_something_else_is_named(plain, tmp_path):
    pytest.importorskip("onnx")
    exported(family_of(NAME).deployed(plain), tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match=r"of nanodet-plus-m-1\.5x are not there; is it another detector"):
        read_nanodet(tmp_path / "m.onnx", "nanodet-plus-m-1.5x")
    (tmp_path / "text.onnx").write_text("nothing of the kind")
    with pytest.raises(ConfigError, match="not a readable ONNX file"):
        read_nanodet(tmp_path / "text.onnx", NAME)
    with pytest.raises(ConfigError, match="is not a file"):
        read_nanodet(tmp_path / "none.pth", NAME)
