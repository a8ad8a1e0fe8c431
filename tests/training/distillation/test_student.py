"""Encoder, quantiser, decoder and tail as one module."""

from __future__ import annotations

import pytest
import torch

from splitnet.errors import ConfigError
from splitnet.nn.yolox.network import SPLIT_POINTS, YOLOX, features_at
from tests.support.tiny_student import CLASSES, ENCODER, SQUARE, make_teacher, student_spec
from training.distillation.student import Student

ANCHORS = (SQUARE // 8) ** 2 + (SQUARE // 16) ** 2 + (SQUARE // 32) ** 2
FEATURE_STAGE = {
    "stem": {"stem", "dark2", "dark3"},
    "dark2": {"dark2", "dark3"},
    "dark3": {"dark3", "dark4"},
    "dark4": {"dark3", "dark4"},
}


@pytest.fixture(scope="module")
def teacher() -> YOLOX:
    return make_teacher()


def run(student: Student, joint: bool, canvas: torch.Tensor | None = None):
    image = torch.rand(2, 3, 48, SQUARE) * 255 if canvas is None else canvas
    with torch.no_grad():
        return student(image, SQUARE, torch.tensor([1, 2]), torch.tensor([0, 1]), joint)


@pytest.mark.parametrize("split_point", SPLIT_POINTS)
def test_the_tail_is_the_teachers(teacher, split_point):
    student = Student(student_spec(split_point))
    student.take_tail(teacher)
    whole = teacher.state_dict()
    assert 0 < len(student.tail.state_dict()) < len(whole)
    for name, value in student.tail.state_dict().items():
        assert torch.equal(value, whole[name])


@pytest.mark.parametrize("split_point", SPLIT_POINTS)
def test_with_the_teachers_own_features_the_tail_says_what_the_teacher_says(teacher, split_point):
    student = Student(student_spec(split_point))
    student.take_tail(teacher)
    with torch.no_grad():
        traced = teacher.trace({"image": torch.rand(1, 3, SQUARE, SQUARE) * 255})
        raw = student.tail.from_features({stage: traced[stage] for stage in features_at(split_point)})
    torch.testing.assert_close(raw, traced["raw"])


def test_the_tail_is_a_copy(teacher):
    student = Student(student_spec())
    student.take_tail(teacher)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    with torch.no_grad():
        for parameter in student.tail.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


@pytest.mark.parametrize(
    "other",
    [YOLOX("yolox-tiny", CLASSES), YOLOX("yolox-nano", CLASSES + 1), YOLOX("yolox-nano", CLASSES, fused=False)],
    ids=["another size", "other classes", "not fused"],
)
def test_another_teacher_is_refused(other):
    with pytest.raises(ConfigError, match="not a whole, fused yolox-nano of 3 classes"):
        Student(student_spec()).take_tail(other)


@pytest.mark.parametrize("split_point", SPLIT_POINTS)
def test_the_feature_stage_runs_to_the_stage_after_the_split_point(split_point):
    outputs, quantised = run(Student(student_spec(split_point)), joint=False)
    assert set(outputs) == FEATURE_STAGE[split_point]
    assert quantised.bits.shape == (2,)
    assert quantised.y_hat.shape == (2, ENCODER.latent_channels, 3, 4)  # of the canvas, not of the square


@pytest.mark.parametrize("split_point", SPLIT_POINTS)
def test_the_joint_stage_runs_to_the_raw_predictions(split_point):
    outputs, _ = run(Student(student_spec(split_point)), joint=True)
    assert {"dark3", "dark4", "p3", "p4", "p5", "raw"} <= set(outputs)
    assert outputs["raw"].shape == (2, ANCHORS, 5 + CLASSES)


@pytest.mark.parametrize("split_point", SPLIT_POINTS)
def test_both_stages_agree_on_the_features(split_point):
    student = Student(student_spec(split_point)).eval()
    canvas = torch.rand(2, 3, 48, SQUARE) * 255
    features, joint = run(student, False, canvas)[0], run(student, True, canvas)[0]
    for name, value in features.items():
        torch.testing.assert_close(joint[name], value)


@pytest.mark.parametrize("split_point", SPLIT_POINTS)
def test_outputs_have_the_shapes_of_the_teachers(teacher, split_point):
    outputs, _ = run(Student(student_spec(split_point)), joint=True)
    with torch.no_grad():
        traced = teacher.trace({"image": torch.zeros(2, 3, SQUARE, SQUARE)})
    assert {name: value.shape for name, value in outputs.items()} == {name: traced[name].shape for name in outputs}


def test_gradients_of_the_feature_stage_reach_encoder_and_decoder_through_a_frozen_tail():
    student = Student(student_spec())
    student.tail.requires_grad_(False)
    widths, qualities = torch.tensor([1, 2]), torch.tensor([0, 1])
    outputs, _ = student(torch.rand(2, 3, SQUARE, SQUARE) * 255, SQUARE, widths, qualities, False)
    outputs["dark4"].square().mean().backward()
    assert student.encoder.projection.grad.abs().sum() > 0
    assert student.decoder.trunk[0].weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in student.tail.parameters())
