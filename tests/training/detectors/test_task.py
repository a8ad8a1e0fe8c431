"""One step of a detector's training: what it changes, and that it goes on as if nothing had happened."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from splitnet.errors import ConfigError
from tests.support.tiny_student import random_images
from tests.training.detectors.tiny_family import TinyFamily
from training.data.labelled_stream import LabelledBatch
from training.detectors.family import FAMILIES, MODELS, family_of
from training.detectors.task import (
    ADAM_DECAY,
    ADAM_RATE,
    ADAM_WARM_UP,
    SGD_DECAY,
    SGD_RATE,
    SGD_WARM_UP,
    DetectorConfig,
    DetectorTraining,
    average_decay,
)
from training.detectors.yolox.family import YOLOXFamily


def batch(seed: int = 0, side: int = 64) -> LabelledBatch:
    boxes = np.array([[4, 4, side - 4, side - 8], [0, 0, side // 2, side // 2]], np.float32)
    return LabelledBatch(random_images(2, side, side, seed), (boxes, boxes[:1]), (np.array([0, 1]), np.array([1])))


def make(classes: int = 2, **changes: object) -> DetectorTraining:
    family = TinyFamily()
    config = DetectorConfig(**{"model": "tiny", "steps": 10, "batch_size": 2, **changes})
    return DetectorTraining(config, family, family.build("tiny", classes))


def weights(task: DetectorTraining) -> list[float]:
    return [round(value.item(), 9) for p in task.network.parameters() for value in p.flatten()]


def test_a_step_returns_its_losses_their_sum_and_what_is_only_noted():
    figures = make().train(batch(), 0.5)
    assert set(figures) == {"error", "loss", "positives"}
    assert figures["loss"] == figures["error"]
    assert figures["positives"] == [1.5]


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
def test_steps_lower_the_loss(optimiser):
    task = make(optimiser=optimiser, rate=0.05)
    losses = [task.train(batch(), 0.1)["loss"][0] for _ in range(10)]
    assert losses[-1] < 0.8 * losses[0]


def test_the_last_part_is_late():
    task = make(steps=20, plain_share=0.25)
    for step in range(20):
        task.train(batch(), step / 20)
    assert task.family.late == [False] * 15 + [True] * 5
    assert task.config.plain_from == 15


def test_a_restored_task_takes_the_same_next_step():
    first, second = make(), make()
    for step in range(3):
        first.train(batch(step), step / 10)
    content = io.BytesIO()
    torch.save(first.state(), content)
    content.seek(0)
    second.load(torch.load(content, weights_only=True))
    for task in (first, second):
        task.train(batch(3), 0.3)
    assert weights(first) == weights(second)
    for name, value in first.averaged().state_dict().items():
        assert torch.equal(value, second.averaged().state_dict()[name])


def test_settings_of_the_new_run_win_over_the_stored_rate():
    first, second = make(rate=0.1), make(rate=0.2)
    second.load(first.state())
    assert [group["peak"] for group in second.optimiser.param_groups] == [0.2, 0.2]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make(model="small"), "trains small with adamw, not tiny with adamw; give another --run"),
        (make(optimiser="sgd"), "trains tiny with sgd, not tiny with adamw; give another --run"),
        (make(classes=3), "another number of classes; give another --run"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(other, message):
    with pytest.raises(ConfigError, match=message):
        make().load(other.state())


def test_a_checkpoint_of_another_kind_is_refused():
    with pytest.raises(ConfigError, match="of another kind of training"):
        make().load({"student": {}})


def test_biases_are_not_decayed_and_rates_follow_the_batch():
    for optimiser, decay, rate in (("adamw", ADAM_DECAY, ADAM_RATE), ("sgd", SGD_DECAY, 16 * SGD_RATE)):
        groups = make(optimiser=optimiser, batch_size=16).optimiser.param_groups
        assert [(group["weight_decay"], group["peak"]) for group in groups] == [(decay, rate), (0.0, rate)]
        assert [p.dim() for group in groups for p in group["params"]] == [4, 1]


@pytest.mark.parametrize(("optimiser", "warm_up"), [("adamw", ADAM_WARM_UP), ("sgd", SGD_WARM_UP)])
def test_the_rate_rises_to_its_peak_and_falls_to_a_hundredth(optimiser, warm_up):
    task = make(optimiser=optimiser, rate=0.1)
    for progress, rate in ((warm_up / 2, 0.05), (warm_up, 0.1), (1.0, 0.001)):
        task.train(batch(), progress)
        assert [group["lr"] for group in task.optimiser.param_groups] == pytest.approx([rate, rate])


def test_the_average_looks_back_a_twentieth_of_the_steps():
    assert average_decay(2000) == pytest.approx(0.99)
    assert average_decay(10**6) == pytest.approx(1 - 1 / 5000)


def test_the_result_is_the_average_not_the_last_step():
    task = make(rate=0.1, steps=200)
    for step in range(4):
        task.train(batch(step), 0.2)
    result = task.result()
    assert not result.training
    assert torch.equal(result.bias, task.averaged().state_dict()["bias"])
    assert not torch.equal(result.bias, task.network.bias)
    assert task.network.training  # goes on


@pytest.mark.parametrize("changes", [{"optimiser": "magic"}, {"plain_share": 1.1}, {"rate": 0.0}, {"rate": -1.0}])
def test_impossible_settings_are_refused(changes):
    with pytest.raises(ConfigError, match=r"unknown optimiser|share of plain steps"):
        make(**changes)


def test_every_model_has_one_family():
    assert len(set(MODELS)) == len(MODELS)
    assert all(name in family_of(name).input_sizes for name in MODELS)
    assert isinstance(family_of("yolox-s"), YOLOXFamily)
    assert family_of("yolox-s") in FAMILIES
    with pytest.raises(ConfigError, match="unknown detector 'tiny'; choose one of yolox-nano"):
        family_of("tiny")


def test_a_yolox_learns_a_batch_by_heart():
    torch.manual_seed(0)
    family = YOLOXFamily()
    config = DetectorConfig("yolox-nano", steps=20, rate=1e-2, plain_share=0.0)
    task = DetectorTraining(config, family, family.build("yolox-nano", 2))
    figures = [task.train(batch(), ADAM_WARM_UP) for _ in range(12)]
    assert set(figures[0]) == {"box", "object", "class", "loss", "positives"}
    assert min(one["loss"][0] for one in figures[-4:]) < 0.85 * figures[0]["loss"][0]
    assert "distance" in task.train(batch(), 1.0)
    deployed = task.result()
    with torch.inference_mode():
        found = family.detections(deployed(family.inputs(batch().images, torch.device("cpu"))), 64, 0.0)
    assert len(found) == 2
    assert not any(".bn." in name for name in deployed.state_dict())


def test_a_new_yolox_expects_nothing():
    network = YOLOXFamily().build("yolox-nano", 3)
    for prediction in (*network.head.cls_preds, *network.head.obj_preds):
        assert prediction.bias.sigmoid().tolist() == pytest.approx([0.01] * len(prediction.bias))


def test_other_classes_keep_everything_but_the_new_ones():
    family = YOLOXFamily()
    torch.manual_seed(0)
    old = family.build("yolox-nano", 3)
    new = family.with_classes(old, "yolox-nano", [2, None])
    ours, theirs = new.state_dict(), old.state_dict()
    for name, value in ours.items():
        if "cls_preds" in name:
            assert len(value) == 2
            assert torch.equal(value[0], theirs[name][2])
            assert not torch.equal(value[1], theirs[name][0]) or value.dim() == 1
        else:
            assert torch.equal(value, theirs[name])
    assert family.classes(new) == 2
