"""The networks of a classifier's group, their images and their sizes."""

from __future__ import annotations

import io
import tarfile

import cv2
import numpy as np
import pytest
import torch

from splitnet.errors import ConfigError
from splitnet.groups.part_kinds import PooledConvSpec
from training.groups.augmented import Augmented
from training.groups.class_images import read_class_images
from training.groups.part_size import sized
from training.groups.pooled_part import TrainedPooledConv, cost_of
from training.groups.students import Group
from training.groups.teacher import Teacher, TeacherSpec

SPEC = PooledConvSpec(5, stem=4, middle=6, wide=8)


def test_a_folded_part_gives_what_the_trained_one_gives():
    torch.manual_seed(0)
    trained = TrainedPooledConv(SPEC)
    images = 255 * torch.rand(16, 3, 32, 32)
    trained.train()(images)  # statistics
    trained.eval()
    folded = trained.folded()(images)
    assert folded.shape == (16, 5, 1, 1)
    assert torch.allclose(folded.flatten(1), trained(images), atol=1e-4)


def test_the_cost_of_a_part_is_that_of_its_four_convolutions():
    parameters, mmacs = cost_of(SPEC)
    assert parameters == (27 * 4 + 4) + (36 * 6 + 6) + (54 * 8 + 8) + (8 * 5 + 5)
    assert mmacs == pytest.approx((1024 * 108 + 256 * 216 + 64 * 432 + 16 * 40) / 1e6)


def test_a_part_is_as_large_as_the_budget_allows():
    assert sized(64, 63_000, 100) == PooledConvSpec(64, 24, 48, 96)
    assert cost_of(sized(64, 63_000, 3.0))[1] <= 3.0
    with pytest.raises(ConfigError, match="the smallest part of 64 channels has 2664 parameters"):
        sized(64, 1000, 100)


def test_a_group_begins_with_the_teachers_last_layer():
    torch.manual_seed(0)
    teacher = Teacher(TeacherSpec((4, 6, 8), 2, 3)).eval()
    features = torch.rand(2, 8)
    group = Group([SPEC, SPEC], ((7, 1, 2, 3), (0, 4, 5, 6)), 3)
    group.start_from_head(teacher.head.weight)
    assert torch.allclose(group.dense(features[:, [7, 1, 2, 3, 0, 4, 5, 6]]), teacher.logits(features))


def test_the_first_layer_whitens_patches():
    torch.manual_seed(0)
    teacher = Teacher(TeacherSpec((4, 6, 8), 1, 3))
    images = 255 * torch.rand(300, 3, 8, 8)
    teacher.set_whitening(images)
    with torch.no_grad():
        teacher.whiten.bias.zero_()
        found = teacher.whiten(teacher.normalise(images))[:, :12].transpose(0, 1).flatten(1)
    assert torch.allclose(found @ found.T / found.shape[1], torch.eye(12), atol=0.01)


def test_images_are_mirrored_and_moved_as_told():
    pixels = torch.arange(64, dtype=torch.uint8).reshape(1, 1, 8, 8).expand(2, 3, 8, 8)
    still = torch.full((2, 2), 2)
    found = Augmented(pixels).batch(torch.tensor([0, 1]), torch.tensor([False, True]), still)
    assert (found[0] == pixels[0]).all() and (found[1] == pixels[0].flip(2)).all()
    moved = Augmented(pixels).batch(torch.tensor([0]), torch.tensor([False]), torch.tensor([[4, 2]]))
    assert (moved[0, 0, 0] == pixels[0, 0, 2]).all()
    assert Augmented(pixels).batch(torch.tensor([0]), torch.tensor([True]), still[:1], small=True).shape == (1, 3, 6, 6)


def png(value: int) -> bytes:
    return cv2.imencode(".png", np.full((32, 32, 3), value, np.uint8))[1].tobytes()


def test_an_archive_and_a_folder_give_the_same_images(tmp_path):
    files = {"cat/1.png": png(10), "cat/0.png": png(20), "ape/5.png": png(30), "cat/notes.txt": b"no image"}
    archive = tmp_path / "all.tar.xz"
    with tarfile.open(archive, "w:xz") as tar:
        for name, data in files.items():
            (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "all" / name).write_bytes(data)
            entry = tarfile.TarInfo(f"train/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    for found in (read_class_images(archive), read_class_images(tmp_path / "all")):
        assert found.class_names == ("ape", "cat")
        assert found.labels.tolist() == [0, 1, 1] and found.pixels[:, 0, 0, 0].tolist() == [30, 20, 10]


def test_images_that_cannot_be_learnt_from_are_said(tmp_path):
    (tmp_path / "one" / "cat").mkdir(parents=True)
    (tmp_path / "one" / "cat" / "0.png").write_bytes(png(0))
    with pytest.raises(ConfigError, match="images of 1 classes: they must lie in a folder for each class"):
        read_class_images(tmp_path / "one")
    (tmp_path / "one" / "cat" / "1.png").write_bytes(b"torn")
    with pytest.raises(ConfigError, match=r"cat/1\.png cannot be read as an image; remove it"):
        read_class_images(tmp_path / "one")
    (tmp_path / "torn.tar").write_bytes(b"torn")
    with pytest.raises(ConfigError, match="neither a folder nor a tar archive"):
        read_class_images(tmp_path / "torn.tar")
    with pytest.raises(ConfigError, match="neither a folder nor a tar archive"):
        read_class_images(tmp_path / "absent")
