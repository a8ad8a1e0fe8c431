"""A network in ONNX Runtime gives what it gives in torch, whatever the size of the batch."""

from __future__ import annotations

import builtins

import pytest
import torch
from torch import nn

from cloud_server.compute.onnx_module import OnnxModule, exported, is_installed
from splitnet.errors import ConfigError

NETWORK = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.SiLU(), nn.Conv2d(4, 2, 1))
EXAMPLE = torch.linspace(-1, 1, 3 * 8 * 8).reshape(1, 3, 8, 8)

needs_runtime = pytest.mark.skipif(not is_installed(), reason="needs the extra onnxruntime")


@needs_runtime
def test_it_computes_what_the_module_computes_at_every_batch_size():
    network = OnnxModule(exported(NETWORK, EXAMPLE), threads=1)
    for size in (1, 2, 5):
        batch = torch.cat([EXAMPLE * (index + 1) for index in range(size)])
        with torch.inference_mode():
            torch.testing.assert_close(network(batch), NETWORK(batch))


@needs_runtime
def test_what_cannot_be_exported_says_so(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(ConfigError, match=r"as ONNX \(no such operator\)"):
        exported(NETWORK, EXAMPLE)


def test_a_missing_runtime_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **named):
        if name == "onnxruntime":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    assert not is_installed()
    with pytest.raises(ConfigError, match="ONNX Runtime is not installed"):
        OnnxModule(b"", threads=1)
