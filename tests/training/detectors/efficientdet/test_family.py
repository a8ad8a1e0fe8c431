"""EfficientDet as a family that can be trained: other classes, a step that learns, the network that will run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splitnet.nn.efficientdet.network import ANCHORS_PER_CELL, EfficientDet
from tests.support.tiny_student import random_images
from training.detectors.family import MODELS, family_of

NAME, SQUARE = "efficientdet-d0", 64
LAST = "class_net.predict.conv_pw"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> EfficientDet:
    torch.manual_seed(0)
    built = family_of(NAME).build(NAME, 3)
    assert isinstance(built, EfficientDet)
    return built


def test_every_member_can_be_asked_for():
    assert [name for name in MODELS if name.startswith("efficientdet")] == [f"efficientdet-d{i}" for i in range(3)]


def test_in_the_beginning_nothing_is_believed(network):
    family = family_of(NAME)
    network.eval()
    with torch.inference_mode():
        raw = network(family.inputs(random_images(1, SQUARE, SQUARE), CPU))
    assert raw.shape == (1, 9 * (64 + 16 + 4 + 1 + 1), 7)
    assert float(raw[..., 4:].sigmoid().mean()) == pytest.approx(0.01, rel=0.5)
    assert len(family.detections(raw, SQUARE, 0.25)[0]) == 0


def test_classes_that_are_kept_keep_their_outputs(network):
    family = family_of(NAME)
    changed = family.with_classes(network, NAME, [2, None, 0, None])
    assert family.classes(changed) == 4
    layers = (one.state_dict()[f"{LAST}.weight"] for one in (changed, network))
    new, old = (layer.unflatten(0, (ANCHORS_PER_CELL, -1)) for layer in layers)
    assert torch.equal(new[:, 0], old[:, 2]) and torch.equal(new[:, 2], old[:, 0])
    assert not torch.equal(new[:, 1], old[:, 1])
    after = changed.state_dict()
    rest = {key: value for key, value in network.state_dict().items() if LAST not in key}
    assert all(torch.equal(value, after[key]) for key, value in rest.items())


def test_a_few_steps_lower_the_losses(network):
    family = family_of(NAME)
    network.train()
    image = family.inputs(random_images(2, SQUARE, SQUARE), CPU)
    boxes = [torch.tensor([[4.0, 4, 36, 36]]), torch.tensor([[20.0, 10, 60, 50], [0, 0, 30, 30]])]
    labels = [torch.tensor([1]), torch.tensor([0, 2])]
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    seen = []
    for _ in range(4):
        losses = family.losses(network(image), boxes, labels, SQUARE, is_late=False)
        total = losses["class"] + losses["box"]
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        seen.append(total.item())
    assert np.isfinite(seen).all() and seen[-1] < seen[0]


def test_what_runs_is_folded_and_says_the_same(network):
    deployed = family_of(NAME).deployed(network)
    x = 255 * torch.rand(1, 3, SQUARE, SQUARE)
    network.eval()
    with torch.inference_mode():
        torch.testing.assert_close(deployed(x), network(x), rtol=1e-3, atol=1e-4)
    assert not any("running_mean" in key for key in deployed.state_dict())
