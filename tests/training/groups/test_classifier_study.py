"""What a run of groups keeps, and that nothing is mixed with what was made from something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from splitnet.errors import ConfigError
from splitnet.groups.part_kinds import PooledConvSpec
from training.groups.class_images import ClassImages
from training.groups.classifier_study import TARGETS_FILE, ClassifierStudy, StudySettings
from training.groups.part_size import sized

EPOCH = 0.5  # of eight images in batches of four


def images(seed: int = 0) -> ClassImages:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return ClassImages(pixels, torch.arange(8) % 2, ("cat", "dog"))


def settings(run: Path) -> StudySettings:
    return StudySettings(run=run, teacher_epochs=EPOCH, epochs=EPOCH, views=1, batch_size=4)


def student() -> PooledConvSpec:
    return sized(2, 2000, float("inf"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run with a teacher, its targets and one classifier."""
    run = tmp_path_factory.mktemp("run")
    ClassifierStudy(settings(run), images()).classifiers("one", [student()], EPOCH)
    return run


def test_what_a_run_has_is_taken_again(finished):
    before = (finished / TARGETS_FILE).stat().st_mtime_ns
    study = ClassifierStudy(settings(finished), images())
    study.classifiers("one", [student()], EPOCH)
    assert len(study.targets) == 1 and (finished / TARGETS_FILE).stat().st_mtime_ns == before


def test_students_of_other_views_are_not_mixed_with_those_of_before(finished):
    study = ClassifierStudy(replace(settings(finished), views=2), images())
    with pytest.raises(ConfigError, match="one has learnt from another teacher, other images or views: give another"):
        study.classifiers("one", [student()], EPOCH)
    assert len(study.targets) == 2


def test_what_students_learn_from_follows_from_images_and_labels(finished):
    named = {ClassifierStudy(settings(finished), images(seed)).made_from for seed in (0, 0, 1)}
    assert len(named) == 2
