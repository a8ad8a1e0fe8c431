"""Distillation on networks of a few channels: it learns, in two stages, and goes on after a stop."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from splitnet.errors import ConfigError
from splitnet.nn.encoder.ensemble import EnsembleSpec
from splitnet.nn.yolox.network import YOLOX
from tests.support.tiny_student import CLASSES, SQUARE, forever, make_teacher, random_images, student_spec
from training.distillation.recipe import ENSEMBLE
from training.distillation.task import Distillation, DistillConfig
from training.loop.moving_average import average_state
from training.loop.run import CHECKPOINT, Run

RECIPE = replace(ENSEMBLE, matrix_rate=5e-2, peak_rate=2e-2, tail_rate=2e-3, prices=(2.0, 0.2))
CONFIG = DistillConfig(SQUARE, RECIPE)
FEATURES, TOGETHER = 0.3, RECIPE.joint_from  # progress in the first stage and in the second


def make(config: DistillConfig = CONFIG, split_point: str = "dark3") -> Distillation:
    return Distillation(config, student_spec(split_point), make_teacher())


def parameters(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def unchanged(module: torch.nn.Module, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def learn(task: Distillation, steps: int, progress: float, name: str) -> list[float]:
    batch = random_images(2)
    return [task.train(batch, progress)[name][0] for _ in range(steps)]


@pytest.mark.parametrize(("progress", "name"), [(FEATURES, "dark3"), (FEATURES, "dark4"), (TOGETHER, "p3")])
def test_the_error_on_a_fixed_batch_falls(progress, name):
    errors = learn(make(), 40, progress, name)
    assert np.mean(errors[-4:]) < 0.8 * np.mean(errors[:4])


def test_a_dear_bit_makes_fewer_bits():
    def rate_after(price: float) -> float:
        task, batch = make(replace(CONFIG, recipe=replace(RECIPE, prices=(2 * price, 2 * price)))), random_images(2)
        for _ in range(15):
            figures = task.train(batch, FEATURES)
        return float(np.mean([rate for name, rates in figures.items() if "bpp" in name for rate in rates]))

    assert rate_after(20.0) < 0.7 * rate_after(0.0)


def test_the_frozen_tail_stays_as_it_is_and_the_rest_does_not():
    task = make()
    tail, encoder, decoder = (parameters(m) for m in (task.student.tail, task.student.encoder, task.student.decoder))
    learn(task, 2, FEATURES, "dark3")
    assert unchanged(task.student.tail, tail)
    assert not unchanged(task.student.encoder, encoder)
    assert not unchanged(task.student.decoder, decoder)


def test_the_joint_stage_changes_the_whole_server_half():
    task = make()
    tail = parameters(task.student.tail)
    learn(task, 1, TOGETHER, "raw")
    kept = [name for name, value in task.student.tail.named_parameters() if torch.equal(value, tail[name])]
    # Of the classes, only levels on which the teacher sees something learn in a step.
    assert all(name.startswith(("head.cls", "head.reg")) for name in kept)


def test_frozen_normalisation_keeps_its_statistics_and_learns_all_the_same():
    task = make(replace(CONFIG, frozen_norm=True))
    before = parameters(task.student.encoder)
    learn(task, 2, TOGETHER, "p3")
    changed = {
        name for name, value in task.student.encoder.state_dict().items() if not torch.equal(value, before[name])
    }
    assert not any("running" in name for name in changed)
    assert any("weight" in name for name in changed)


def test_the_teacher_never_changes():
    task = make()
    before = parameters(task.teacher)
    learn(task, 1, FEATURES, "dark3")
    learn(task, 1, TOGETHER, "raw")
    assert unchanged(task.teacher, before)
    assert all(parameter.grad is None for parameter in task.teacher.parameters())


@pytest.mark.parametrize("split_point", ["stem", "dark2", "dark4"])
def test_other_split_points_are_trained_too(split_point):
    task = make(split_point=split_point)
    assert "dark3" in task.train(random_images(2), FEATURES)
    assert "raw" in task.train(random_images(2), TOGETHER)


@pytest.mark.parametrize("shape", [(64, 64), (48, 64), (64, 16)])
def test_a_batch_may_have_any_canvas_inside_the_square(shape):
    figures = make().train(random_images(2, *shape), FEATURES)
    assert all(np.isfinite(value) for values in figures.values() for value in values)


def test_figures_are_errors_of_the_stage_and_bits_of_the_drawn_qualities():
    figures = make().train(random_images(8), FEATURES)
    rates = {name: values for name, values in figures.items() if name.startswith("bpp")}
    assert set(figures) - set(rates) == {"dark3", "dark4"}
    assert set(rates) <= {"bpp0", "bpp1"}
    assert sum(len(values) for values in rates.values()) == 8


def test_a_grey_batch_breaks_nothing():
    grey = np.full((2, SQUARE, SQUARE, 3), 114, np.uint8)
    task = make()
    task.train(grey, FEATURES)
    task.train(grey, TOGETHER)
    assert all(torch.isfinite(value).all() for value in task.student.state_dict().values())


def test_a_loaded_state_goes_on_as_if_nothing_had_happened():
    task, batch = make(), random_images()
    task.train(batch, FEATURES)
    state = copy.deepcopy(task.state())
    torch.manual_seed(1)
    expected = task.train(batch, TOGETHER)
    other = make(replace(CONFIG, seed=5))
    other.load(state)
    torch.manual_seed(1)
    assert other.train(batch, TOGETHER) == expected
    assert unchanged(other.student, parameters(task.student))
    assert unchanged(other.result(), task.average.module.state_dict())


def test_a_run_goes_on_from_its_checkpoint(tmp_path: Path):
    Run(make(), tmp_path, 2).go(forever(random_images(2)))
    task = make()
    run = Run(task, tmp_path, 4)
    run.resume()
    assert run.step == 2
    assert average_state(task.average)["updates"] == 2
    run.go(forever(random_images(2)))
    assert average_state(task.average)["updates"] == 4


def test_the_result_is_the_average_and_ready_to_be_exported():
    task = make()
    learn(task, 3, FEATURES, "dark3")
    result = task.result()
    assert unchanged(result, task.average.module.state_dict())
    assert not unchanged(result, parameters(task.student))
    assert not result.training


def test_a_checkpoint_of_other_sizes_is_refused(tmp_path: Path):
    Run(make(), tmp_path, 1).go(forever(random_images(2)))
    spec = replace(student_spec(), encoder=EnsembleSpec(2, 4, 6, 8, 1, 7))
    run = Run(Distillation(CONFIG, spec, make_teacher()), tmp_path, 2)
    with pytest.raises(ConfigError, match="other sizes"):
        run.resume()
    assert (tmp_path / CHECKPOINT).is_file()


def test_a_seed_starts_from_the_same_weights():
    assert unchanged(make().student, parameters(make().student))
    assert not unchanged(make(replace(CONFIG, seed=1)).student, parameters(make().student))


def test_first_weights_are_found_on_the_cpu_wherever_the_training_is():
    seen: list[str] = []

    def begin(student: torch.nn.Module, teacher: torch.nn.Module) -> None:
        seen.extend(parameter.device.type for module in (student, teacher) for parameter in module.parameters())

    task = Distillation(replace(CONFIG, device="meta", precision="single"), student_spec(), make_teacher(), begin)
    assert set(seen) == {"cpu"}
    assert {parameter.device.type for parameter in (*task.student.parameters(), *task.teacher.parameters())} == {"meta"}


@pytest.mark.parametrize("progress", [FEATURES, TOGETHER])
def test_in_bfloat16_the_losses_are_near_those_in_single_precision_and_all_that_is_kept_is_single(progress):
    tasks = [make(replace(CONFIG, precision=precision)) for precision in ("single", "bfloat16")]
    figures = []
    for task in tasks:
        torch.manual_seed(1)
        figures.append(task.train(random_images(2), progress))
    assert figures[0] != figures[1]
    for name, values in figures[0].items():
        exact = name.startswith("bpp")  # the encoder and the rate are in single precision
        assert figures[1][name] == pytest.approx(values, rel=1e-6 if exact else 0.05), name
    state = tasks[1].state()
    kept = [*state["student"].values(), *state["average"].values()]
    kept += [value for name in ("muon", "adam") for each in state[name]["state"].values() for value in each.values()]
    assert {value.dtype for value in kept} <= {torch.float32, torch.int64}


def test_there_must_be_a_price_for_each_quality():
    with pytest.raises(ConfigError, match="3 prices for 2 qualities"):
        make(replace(CONFIG, recipe=replace(RECIPE, prices=(1.0, 0.5, 0.1))))


def test_another_teacher_is_refused():
    with pytest.raises(ConfigError, match="the teacher is not"):
        Distillation(CONFIG, student_spec(), YOLOX("yolox-nano", CLASSES + 1))


@pytest.mark.parametrize("square", [0, 40, -64])
def test_a_square_that_no_detector_takes_is_refused(square):
    with pytest.raises(ConfigError, match="multiple of 32"):
        DistillConfig(square=square)
