"""What students learn from: a teacher's features and logits of a few fixed views of each image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from splitnet.extras import progress
from training.groups.augmented import Augmented, random_shifts
from training.groups.class_images import ClassImages
from training.groups.teacher import Teacher, pooled
from training.loop.precision import is_mixed, mixed_precision

CPU = torch.device("cpu")
TEACHER_BATCH = 500
SMALL_SHARE = 0.6  # of the steps, at the beginning: images of three quarters of the side


@dataclass(frozen=True, eq=False)
class Targets:
    """A view of all images, and what the teacher says of it."""

    flipped: Tensor  # (N,) bool
    shifts: Tensor  # (N, 2)
    features: Tensor  # (N, filters) float16, pooled
    logits: Tensor  # (N, classes)


@dataclass(frozen=True, eq=False)
class StudentBatch:
    """Images (B, 3, S, S) float32 with features (B, filters), logits (B, classes) and labels (B,)."""

    images: Tensor
    features: Tensor
    logits: Tensor
    labels: Tensor


@torch.inference_mode()
def look(teacher: Teacher, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return of images (N, 3, S, S): mean activations and pooled features (N, filters) each, as float32."""
    means, peaks = [], []
    for batch in images.split(TEACHER_BATCH):
        with mixed_precision(CPU, is_mixed("auto", CPU)):
            maps = teacher.features(batch.float().contiguous(memory_format=torch.channels_last)).float()
        means.append(maps.clamp(min=0).mean((2, 3)))
        peaks.append(pooled(maps))
    return torch.cat(means), torch.cat(peaks)


@torch.inference_mode()
def targets_of(teacher: Teacher, images: ClassImages, views: int, seed: int) -> list[Targets]:
    """Return views of all images: every other one is mirrored, each is moved a little."""
    generator = torch.Generator().manual_seed(seed)
    augmented, count = Augmented(images.pixels), len(images)
    found = []
    mirrored = torch.rand(count, generator=generator) < 0.5
    for view in range(views):
        flipped, shifts = mirrored ^ bool(view % 2), random_shifts(count, generator)
        peaks = [
            look(teacher, augmented.batch(chosen, flipped[chosen], shifts[chosen]))[1]
            for chosen in progress(torch.arange(count).split(TEACHER_BATCH), unit="batch", desc=f"view {view + 1}")
        ]
        features = torch.cat(peaks)
        found.append(Targets(flipped, shifts, features.half(), teacher.logits(features)))
    return found


def student_batches(
    images: ClassImages, targets: list[Targets], batch_size: int, steps: int, step: int, seed: int
) -> Iterator[StudentBatch]:
    """Yield the batches from a step on; each epoch has another order, and the next view."""
    augmented, per_epoch = Augmented(images.pixels), max(1, len(images) // batch_size)
    while True:
        epoch, place = divmod(step, per_epoch)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed + epoch))
        view = targets[epoch % len(targets)]
        for index in range(place, per_epoch):
            chosen = order[index * batch_size : (index + 1) * batch_size]
            small = step < SMALL_SHARE * steps
            pixels = augmented.batch(chosen, view.flipped[chosen], view.shifts[chosen], small)
            yield StudentBatch(pixels, view.features[chosen].float(), view.logits[chosen], images.labels[chosen])
            step += 1
