"""The device's network in ONNX Runtime gives what PyTorch gives."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime")

from splitnet.bundle import load_device
from splitnet.errors import ConfigError
from splitnet.letterbox import Letterbox
from splitnet.nn.encoder.ensemble import EnsembleEncoder, EnsembleSpec
from splitnet.nn.encoder.front import FrontEncoder
from splitnet.nn.onnx_network import OnnxNetwork, onnx_model
from splitnet.nn.split_detector import DeviceHalf
from splitnet.nn.yolox.network import YOLOX
from splitnet.settings import DEFAULT_BUNDLE
from tests.support.tiny_student import FRONT

SPEC = EnsembleSpec(members=3, stem_channels=4, mid_channels=6, channels=8, blocks=2, latent_channels=5)
LARGEST_SHARE = 1e-4  # of symbols that fall on the other side of a rounding border; measured: none of 569,000


@pytest.fixture(scope="module")
def ensemble():
    torch.manual_seed(0)
    return EnsembleEncoder(SPEC).eval()


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("size", [(16, 16), (48, 80)])
def test_a_width_gives_the_same_latent(ensemble, width, size):
    network = ensemble.materialise(width)
    canvas = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(canvas).permute(2, 0, 1)[None].float())[0].numpy()
    found = OnnxNetwork(network, 5, threads=1)(canvas)
    assert found.shape == wanted.shape == (5, size[0] // 16, size[1] // 16)
    assert found == pytest.approx(wanted, abs=1e-4 * float(np.abs(wanted).max()))


@pytest.mark.parametrize("split_point", ["dark2", "dark3"])
@pytest.mark.parametrize("size", [(16, 16), (48, 80)])
def test_a_front_gives_the_same_latent(split_point, size):
    torch.manual_seed(0)
    encoder = FrontEncoder(FRONT, "yolox-nano", split_point).eval()
    canvas = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    with torch.inference_mode():
        wanted = encoder(torch.from_numpy(canvas).permute(2, 0, 1)[None].float())[0].numpy()
    found = OnnxNetwork(encoder, FRONT.latent_channels, threads=1)(canvas)
    assert found.shape == wanted.shape == (FRONT.latent_channels, size[0] // 16, size[1] // 16)
    assert found == pytest.approx(wanted, abs=1e-4 * float(np.abs(wanted).max()))


@pytest.mark.parametrize(
    ("name", "size"), [("yolox-nano", (32, 64)), ("yolox-nano", (64, 96)), ("yolox-tiny", (64, 32))]
)
def test_a_whole_detector_gives_the_same_raw_predictions(name, size):
    torch.manual_seed(0)
    detector = YOLOX(name, 3).eval()
    canvas = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    with torch.inference_mode():
        wanted = detector(torch.from_numpy(canvas).permute(2, 0, 1)[None].float())[0].numpy()
    found = OnnxNetwork(detector, None, threads=1)(canvas)
    assert found.shape == wanted.shape
    assert found == pytest.approx(wanted, abs=1e-4 * float(np.abs(wanted).max()))


class Shuffled(torch.nn.Module):
    """What other families of detectors do: normalise, pool, interleave channels, sample linearly."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([103.0, 116.0, 123.0])[:, None, None])
        self.pool, self.act = torch.nn.MaxPool2d(3, 2, 1), torch.nn.LeakyReLU(0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.act((x - self.mean) / self.mean * self.mean))
        x = torch.flatten(torch.stack((x, x + x), dim=2), 1, 2)
        return torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def test_what_other_families_do_gives_the_same():
    network = Shuffled().eval()
    canvas = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    wanted = network(torch.from_numpy(canvas).permute(2, 0, 1)[None].float())[0].numpy()
    assert OnnxNetwork(network, 6, threads=1)(canvas) == pytest.approx(wanted, abs=1e-3)


def test_the_widths_of_a_front_share_one_session():
    encoder = FrontEncoder(FRONT, "yolox-nano", "dark3").eval()
    half = DeviceHalf(encoder, torch.ones(2, 3, FRONT.latent_channels)).use_onnxruntime(threads=1)
    assert half._sessions[0] is half._sessions[1]


def test_a_layer_that_no_encoder_has_is_named():
    with pytest.raises(ConfigError, match="cannot run Tanh"):
        OnnxNetwork(torch.nn.Sequential(torch.nn.Tanh()), 3, threads=1)


def test_a_function_that_no_encoder_has_is_named():
    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sin(x)

    with pytest.raises(ConfigError, match=r"cannot run .*sin"):
        OnnxNetwork(Odd(), 3, threads=1)


def test_the_residual_stream_is_wired_once_for_both(ensemble):
    import onnx

    graph = onnx.load_from_string(onnx_model(ensemble.materialise(2), 5)).graph
    operators = [node.op_type for node in graph.node]
    assert operators.count("Conv") == 5 + 2 * SPEC.blocks + 1
    assert operators.count("Add") == SPEC.blocks
    assert operators.count("Relu") == 3 + SPEC.blocks
    assert operators[:3] == ["Cast", "Unsqueeze", "Conv"]  # pixels are convolved as they lie in memory


@pytest.mark.parametrize("first", ["slices", "two convolutions", "a grouped one"])
def test_what_does_not_begin_with_one_plain_convolution_sees_planes(first):
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            groups = 3 if first == "a grouped one" else 1
            self.one, self.two = (torch.nn.Conv2d(3, 6, 3, stride=16, padding=1, groups=groups) for _ in range(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if first == "slices":
                return self.one(x[..., 1:, 1:])
            return self.one(x) + self.two(x) if first == "two convolutions" else self.one(x)

    import onnx

    torch.manual_seed(0)
    network = Odd().eval()
    canvas = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    with torch.inference_mode():
        wanted = network(torch.from_numpy(canvas).permute(2, 0, 1)[None].float())[0].numpy()
    assert OnnxNetwork(network, 6, threads=1)(canvas) == pytest.approx(wanted, abs=1e-4 * float(np.abs(wanted).max()))
    operators = [node.op_type for node in onnx.load_from_string(onnx_model(network, 6)).graph.node]
    assert operators[:3] == ["Cast", "Reshape", "Transpose"]


def test_a_canvas_may_be_a_view(ensemble):
    wide = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    network = OnnxNetwork(ensemble.materialise(1), 5, threads=1)
    assert (network(wide[:, :32]) == network(np.ascontiguousarray(wide[:, :32]))).all()


def test_the_bundled_encoders_symbols_are_the_same_but_for_rounding(photo):
    size = load_device(DEFAULT_BUNDLE).manifest.input_size
    one, other = (load_device(DEFAULT_BUNDLE).encoder for _ in range(2))
    other.use_onnxruntime(threads=1)
    canvas = Letterbox.fit(640, 480, size).apply(photo)
    finest = one.qualities - 1
    differences = []
    for width in (1, one.widths):
        ours, theirs = (half.encode(canvas, width, finest) for half in (one, other))
        differences.append(ours.astype(int) - theirs)
        assert ours.any()
    found = np.concatenate([difference.ravel() for difference in differences])
    assert np.abs(found).max() <= 1
    assert (found != 0).mean() <= LARGEST_SHARE


def test_canvases_are_checked_as_ever(ensemble):
    half = DeviceHalf(ensemble.materialise(3), torch.ones(3, 2, 5)).use_onnxruntime(threads=1)
    with pytest.raises(ConfigError, match="multiples of 16"):
        half.encode(np.zeros((17, 16, 3), np.uint8), 1, 0)
    with pytest.raises(ConfigError, match=r"widths 1\.\.3"):
        half.encode(np.zeros((16, 16, 3), np.uint8), 4, 0)


def test_what_is_not_installed_is_named(ensemble, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "onnxruntime":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install slimsplit\[onnxruntime\]"):
        OnnxNetwork(ensemble.materialise(1), 5, threads=1)


def test_a_gpu_and_this_back_end_exclude_one_another(ensemble):
    half = DeviceHalf(ensemble.materialise(3), torch.ones(3, 2, 5))
    half._device = torch.device("cuda")
    with pytest.raises(ConfigError, match="choose one of them"):
        half.use_onnxruntime(threads=1)


def test_a_runtime_that_refuses_the_network_is_named_in_one_line(ensemble, monkeypatch):
    import onnxruntime

    def refused(*arguments, **keywords):
        raise RuntimeError("[ONNXRuntimeError] : 9 :\n NOT_IMPLEMENTED")

    monkeypatch.setattr(onnxruntime, "InferenceSession", refused)
    with pytest.raises(ConfigError, match=r"cannot load this network .*NOT_IMPLEMENTED.*choose PyTorch") as caught:
        OnnxNetwork(ensemble.materialise(1), 5, threads=1)
    assert "\n" not in str(caught.value)
