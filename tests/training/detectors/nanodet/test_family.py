"""NanoDet-Plus as a family that can be trained: other classes, a step that learns, the network that will run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from splitnet.letterbox import Letterbox
from splitnet.nn.split_detector import image_input
from tests.support.labelled_images import write_labelled
from tests.support.tiny_student import random_images
from training.data.augment import Sample, filling
from training.data.images import read_image
from training.detectors.evaluation import detector_accuracy
from training.detectors.family import MODELS, family_of
from training.detectors.nanodet.auxiliary import PARTS, TrainedNanoDet
from training.evaluation.average_precision import LabelledSet

NAME, SQUARE = "nanodet-plus-m", 64
CPU = torch.device("cpu")
POINTS = 64 + 16 + 4 + 1


@pytest.fixture(scope="module")
def network() -> TrainedNanoDet:
    torch.manual_seed(0)
    built = family_of(NAME).build(NAME, 3)
    assert isinstance(built, TrainedNanoDet)
    return built


def test_every_member_can_be_asked_for():
    assert [name for name in MODELS if name.startswith("nanodet")] == ["nanodet-plus-m", "nanodet-plus-m-1.5x"]


def test_in_the_beginning_nothing_is_believed(network):
    family = family_of(NAME)
    network.eval()
    with torch.inference_mode():
        raw = network(family.inputs(random_images(1, SQUARE, SQUARE), CPU))
    assert raw.shape == (1, POINTS, 3 + 32)
    assert float(raw[..., :3].sigmoid().mean()) == pytest.approx(0.01, rel=0.5)
    assert len(family.detections(raw, SQUARE, 0.25)[0]) == 0


def test_the_auxiliary_head_speaks_in_training_only(network):
    image = family_of(NAME).inputs(random_images(2, SQUARE, SQUARE), CPU)
    with torch.no_grad():
        assert network.train()(image).shape == (2, 2 * POINTS, 35)
        assert network.eval()(image).shape == (2, POINTS, 35)


def test_classes_that_are_kept_keep_their_outputs(network):
    family = family_of(NAME)
    changed = family.with_classes(network, NAME, [2, None, 0, None])
    assert family.classes(changed) == 4
    after, before = changed.state_dict(), network.state_dict()
    for key in ("head.gfl_cls.1.weight", "aux_head.gfl_cls.weight", "aux_head.gfl_cls.bias"):
        assert torch.equal(after[key][0], before[key][2]) and torch.equal(after[key][2], before[key][0])
    assert not torch.equal(after["head.gfl_cls.1.weight"][1], before["head.gfl_cls.1.weight"][1])
    assert torch.equal(after["head.gfl_cls.1.weight"][4:], before["head.gfl_cls.1.weight"][3:])
    assert all(torch.equal(value, after[key]) for key, value in before.items() if "gfl_cls" not in key)


def test_some_steps_lower_the_losses(network):
    family = family_of(NAME)
    network.train()
    image = family.inputs(random_images(2, SQUARE, SQUARE), CPU)
    boxes = [torch.tensor([[4.0, 4, 36, 36]]), torch.tensor([[20.0, 10, 60, 50], [0, 0, 30, 30]])]
    labels = [torch.tensor([1]), torch.tensor([0, 2])]
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    seen = []
    for _ in range(16):
        losses = family.losses(network(image), boxes, labels, SQUARE, is_late=False)
        assert losses.pop("positives") > 0
        total = torch.stack(list(losses.values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        seen.append(total.item())
    assert losses.keys() == {f"{p}{n}" for p in ("", "aux_") for n in ("class", "box", "distribution")}
    # In the first steps a box that begins to fit makes more points positive, so there is more to learn.
    assert np.isfinite(seen).all() and np.mean(seen[-3:]) < 0.8 * np.mean(seen[3:6])


def test_what_runs_is_folded_and_says_the_same(network):
    deployed = family_of(NAME).deployed(network)
    x = 255 * torch.rand(1, 3, SQUARE, SQUARE, generator=torch.Generator().manual_seed(0))
    network.eval()
    with torch.inference_mode():
        torch.testing.assert_close(deployed(x), network(x), rtol=1e-3, atol=1e-4)
    assert not any("running_mean" in key or key.startswith(PARTS) for key in deployed.state_dict())


def test_pictures_that_come_whole_are_stretched_in_training_and_evaluation(tmp_path):
    sample = Sample(random_images(1, 48, 96)[0], np.array([[12.0, 12, 36, 24]], np.float32), np.array([1]))
    fitted = filling(sample, SQUARE)
    assert fitted.image.shape == (SQUARE, SQUARE, 3)
    assert fitted.boxes[0].tolist() == pytest.approx([8.0, 16.0, 24.0, 32.0])
    annotations = write_labelled(tmp_path / "labelled", ("person", "cup", "cat"))
    labelled = LabelledSet(annotations.parent, annotations, ("person", "cup", "cat"), 1)
    network = Looks()
    detector_accuracy(family_of(NAME), network, labelled, SQUARE, CPU)
    frame = read_image(labelled.images[0].path)
    canvas = Letterbox.fit(frame.shape[1], frame.shape[0], SQUARE).apply(frame)
    assert torch.equal(network.seen[0], image_input(canvas, SQUARE, fills=True))


class Looks(torch.nn.Module):
    """Finds nothing, and keeps what it was shown."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen = image
        return torch.full((len(image), POINTS, 3 + 32), -20.0)
