"""The store of tensors: what is equal is held once, and goes when nobody has it."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from cloud_server.compute.bundle_model import BundleModel
from cloud_server.compute.tensor_store import TensorStore, held_bytes, tensors_of
from cloud_server.compute.tuning import Tuning
from splitnet.bundle import load_server
from splitnet.operating_point import Mode
from tests.support.tiny_bundle import write_tiny_bundle

CPU = torch.device("cpu")


def convolution(value: float) -> nn.Conv2d:
    conv = nn.Conv2d(4, 8, 3)
    nn.init.constant_(conv.weight, value)
    nn.init.constant_(conv.bias, 0.5)
    return conv.requires_grad_(False)


def shared(*modules: nn.Module) -> TensorStore:
    store = TensorStore()
    for module in modules:
        store.share(module)
    return store


def test_equal_tensors_are_one():
    a, b = convolution(1.0), convolution(1.0)
    shared(a, b)
    assert b.weight is a.weight


def test_a_tensor_that_differs_in_one_bit_stays_its_own():
    a, b = convolution(1.0), convolution(1.0)
    b.weight.data[0, 0, 0, 0] = 1.0000001
    store = shared(a, b)
    assert b.weight is not a.weight
    assert store.held_bytes == 2 * 4 * 8 * 4 * 9  # the biases are too small to be looked at


def test_zero_and_minus_zero_are_two():
    a, b = convolution(0.0), convolution(-0.0)
    shared(a, b)
    assert b.weight is not a.weight


@pytest.mark.parametrize(
    "other",
    [
        lambda: convolution(1.0).half(),
        lambda: convolution(1.0).to(memory_format=torch.channels_last),
        lambda: nn.Conv2d(8, 4, 3).requires_grad_(False),
    ],
    ids=["type", "layout", "shape"],
)
def test_what_is_stored_otherwise_stays_its_own(other):
    a, b = convolution(1.0), other()
    if b.weight.shape != a.weight.shape:
        nn.init.constant_(b.weight, 1.0)
    shared(a, b)
    assert b.weight is not a.weight


def test_a_tensor_goes_with_the_last_module_that_has_it():
    a, b = convolution(1.0), convolution(1.0)
    store = shared(a, b)
    del a
    gc.collect()
    assert store.held_bytes == 4 * 8 * 4 * 9
    del b
    gc.collect()
    assert store.held_bytes == 0


def test_outputs_are_those_of_before():
    a, b = convolution(1.0), convolution(1.0)
    x = torch.rand(1, 4, 8, 8)
    before = b(x)
    shared(a, b)
    assert torch.equal(b(x), before)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return a bundle, and a copy."""
    folder = tmp_path_factory.mktemp("twins")
    write_tiny_bundle(folder / "a")
    shutil.copytree(folder / "a", folder / "b")
    return [folder / "a", folder / "b"]


@pytest.mark.parametrize("way", [Tuning(), Tuning(channels_last=True)], ids=["plain", "channels last"])
def test_two_bundles_with_the_same_weights_take_the_memory_of_one(twins, way):
    store = TensorStore()
    models = [BundleModel(load_server(folder), CPU, way, store=store) for folder in twins]
    for model in models:
        model.prepare()
    alone = models[0].memory_bytes
    assert models[1].memory_bytes == alone
    assert held_bytes(tensors_of(module for model in models for module in model._modules.values())) < 1.01 * alone


def test_a_bundle_that_shares_finds_what_it_finds_alone(twins):
    alone, store = BundleModel(load_server(twins[0]), CPU), TensorStore()
    alone.prepare()
    batch = [alone.blank(Mode.IMAGE)]
    for folder in twins:
        model = BundleModel(load_server(folder), CPU, store=store)
        model.prepare()
        assert torch.equal(model.raw(Mode.IMAGE, batch), alone.raw(Mode.IMAGE, batch))
