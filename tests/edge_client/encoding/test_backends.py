"""Back ends of the device's networks."""

from __future__ import annotations

import builtins
import sys

import numpy as np
import pytest
import torch

from edge_client.encoding.backends import AUTO, ONNXRUNTIME, TORCH, start_backend
from edge_client.encoding.encoder import load_encoder
from splitnet.errors import ConfigError
from splitnet.nn.encoder.ensemble import EnsembleSpec, PlainEncoder
from splitnet.nn.split_detector import DeviceHalf

SPEC = EnsembleSpec(members=1, stem_channels=4, mid_channels=6, channels=8, blocks=1, latent_channels=3)
CANVAS = np.full((16, 32, 3), 90, np.uint8)


@pytest.fixture
def half():
    torch.manual_seed(0)
    return DeviceHalf(PlainEncoder(SPEC, 1), torch.ones(1, 1, 3))


@pytest.fixture
def missing(monkeypatch):
    """Make `import onnxruntime` fail as it does where it was never installed."""
    monkeypatch.setitem(sys.modules, "onnxruntime", None)


@pytest.fixture(params=["onnxruntime", "onnx"])
def broken(request, monkeypatch):
    """Make the import of what is installed fail; returns the reason."""
    pytest.importorskip("onnxruntime")
    monkeypatch.delitem(sys.modules, request.param, raising=False)
    real = builtins.__import__

    def failing(name, *rest):
        if name == request.param:
            raise ImportError("libgomp.so.1: cannot open\nshared object file")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", failing)
    monkeypatch.setattr("splitnet.onnx_runtime.import_module", failing)
    return "libgomp.so.1: cannot open shared object file"


def test_onnx_runtime_is_taken_where_it_is_installed(half, caplog):
    pytest.importorskip("onnxruntime")
    plain = half.encode(CANVAS, 1, 0)
    assert start_backend(half, AUTO, threads=1) == ONNXRUNTIME
    assert np.abs(half.encode(CANVAS, 1, 0).astype(int) - plain).max() <= 1
    assert caplog.text == ""


def test_pytorch_is_taken_where_it_is_not_and_nothing_is_said(half, missing, caplog):
    assert start_backend(half, AUTO, threads=1) == TORCH
    assert half.encode(CANVAS, 1, 0).shape == (3, 1, 2)
    assert caplog.text == ""


def test_one_that_is_installed_but_fails_is_said_in_one_line(half, broken, caplog):
    assert start_backend(half, AUTO, threads=1) == TORCH
    (record,) = caplog.records
    assert record.getMessage().startswith("PyTorch runs the encoder: ONNX Runtime is not installed")
    assert broken in record.getMessage()
    assert half.encode(CANVAS, 1, 0).shape == (3, 1, 2)


def test_one_that_is_asked_for_must_be_there(half, missing):
    with pytest.raises(ConfigError, match=r"pip install slimsplit\[onnxruntime\]"):
        start_backend(half, ONNXRUNTIME, threads=1)


def test_an_encoder_that_it_cannot_run_is_run_by_pytorch(half, caplog, monkeypatch):
    pytest.importorskip("onnxruntime")

    def refused(threads):
        raise ConfigError("ONNX Runtime cannot run Tanh")

    monkeypatch.setattr(half, "use_onnxruntime", refused)
    assert start_backend(half, AUTO, threads=1) == TORCH
    assert caplog.text == ""  # nothing is wrong with the device


def test_a_gpu_is_pytorchs(half, caplog):
    half._device = torch.device("cuda")
    assert start_backend(half, AUTO, threads=1) == TORCH
    assert caplog.text == ""
    with pytest.raises(ConfigError, match="choose one of them"):
        start_backend(half, ONNXRUNTIME, threads=1)


def test_pytorch_on_request_needs_nothing_else(half, missing):
    assert start_backend(half, TORCH, threads=1) == TORCH


def test_a_loaded_encoder_says_what_runs_it(tiny_bundle, missing):
    assert load_encoder(tiny_bundle, device="cpu", threads=1, backend=AUTO).backend == TORCH
