"""Every way of sending a change, on a network of a few hundred weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmarks.updates import own_update, post_hoc, trained_rivals
from benchmarks.updates.study import Method, Study
from benchmarks.updates.tasks import Task, TrainingBatch
from benchmarks.updates.training_loop import Target

METHODS = [*post_hoc.METHODS, *trained_rivals.METHODS, *own_update.METHODS]
CLASSES, OLD_CLASSES = 2, 3
PARTS = 5 + CLASSES


class Tiny(nn.Module):
    """Raw predictions (N, A, 7) of a few layers: plain, depthwise, and a head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=4)
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.head = nn.ModuleDict({"boxes": nn.Conv2d(8, 5, 1), "classes": nn.Conv2d(8, classes, 1)})

    def forward(self, images: Tensor) -> Tensor:
        """Return rows for each position."""
        seen = self.deep(self.stem(images / 255).relu()).relu()
        return torch.cat([layer(seen) for layer in self.head.values()], 1).flatten(2).transpose(1, 2)


@pytest.fixture(scope="module")
def study() -> Study:
    """Return a task whose classes change, with a target that a training may have found."""
    torch.manual_seed(0)
    base = {name: value.half().float() for name, value in Tiny(OLD_CLASSES).state_dict().items()}
    network = Tiny(CLASSES)
    start = {name: base[name] if base[name].shape == v.shape else torch.zeros_like(v) for name, v in state(network)}
    goal = {name: value + 0.02 * torch.randn_like(value) for name, value in start.items()}
    trace = {name: torch.rand_like(value) for name, value in goal.items()}
    images = [TrainingBatch(torch.rand(2, 3, 16, 16) * 255, (), ()) for _ in range(2)]
    task = Task("tiny", network, base, start, None, None, lambda: tuple(images))  # type: ignore[arg-type]
    return Study(task, Target(goal, trace, trace), steps=3, seed=0)


def state(network: nn.Module) -> list[tuple[str, Tensor]]:
    """Return the names and weights of a network."""
    return list(network.state_dict().items())


@pytest.mark.parametrize("method", METHODS, ids=[method.name for method in METHODS])
def test_every_way_gives_a_whole_model_for_the_bytes_that_it_says(method: Method, study: Study) -> None:
    if method.name == "bsdiff4":
        pytest.importorskip("bsdiff4")
    shapes = {name: value.shape for name, value in study.target.weights.items()}
    for point in method.run(study, method.variants[0]):
        assert {name: value.shape for name, value in point.weights.items()} == shapes
        assert all(bool(torch.isfinite(value).all()) for value in point.weights.values())
        assert 24 < point.bytes < 4000, point.setting


def test_fine_differences_give_the_full_trainings_weights(study: Study) -> None:
    (point,) = post_hoc.dense(study, 8)
    for name, value in study.differences.items():
        assert float((point.weights[name] - study.target.weights[name]).abs().max()) <= abs(value).max() / 100


def test_coarser_ones_take_fewer_bytes(study: Study) -> None:
    sizes = [next(iter(post_hoc.dense(study, bits))).bytes for bits in (8, 5, 3)]
    assert sizes == sorted(sizes, reverse=True)


def test_what_is_not_chosen_stays_as_devices_have_it(study: Study) -> None:
    for point in trained_rivals.head_only(study, 0):
        assert all(torch.equal(point.weights[name], study.task.base[name]) for name in ("stem.weight", "deep.bias"))
    (first, *_) = trained_rivals.partial_updating(study, 0.05)
    changed = sum(int((first.weights[name] != study.task.base[name]).sum()) for name in study.differences)
    assert 0 < changed <= round(0.05 * sum(value.size for value in study.differences.values()))


def test_all_singular_vectors_are_the_difference(study: Study) -> None:
    fine = list(post_hoc.singular_vectors(study, 1.0))[-1]
    error = sum(float((fine.weights[n] - study.target.weights[n]).pow(2).sum()) for n in study.differences)
    assert error < 0.02 * sum(float((value**2).sum()) for value in study.differences.values())
