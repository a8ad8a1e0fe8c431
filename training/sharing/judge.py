"""Merges on images: what the merged detector finds, beside what the recipient finds by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from splitnet.detections import SCORE_THRESHOLD as SHOWN
from splitnet.detections import Detections
from splitnet.extras import progress
from splitnet.fidelity import fidelity
from splitnet.letterbox import Letterbox
from splitnet.nn.architectures import architecture_of
from splitnet.nn.blocks import place
from splitnet.nn.detector import IMAGE
from splitnet.nn.graph import run_to
from splitnet.nn.merged import Merged, MergeSpec
from training.data.images import read_image
from training.detectors.family import family_of
from training.evaluation.measure import SCORE_THRESHOLD
from training.sharing.fitting import FittedJoint
from training.sharing.members import Member, square_of

CPU = torch.device("cpu")


@dataclass(eq=False)
class Judged:
    """What one merged detector has done so far."""

    merged: Merged
    found: list[Detections] = field(default_factory=list)
    divergences: list[float] = field(default_factory=list)

    @property
    def divergence(self) -> float:
        """Mean distance of the raw predictions from the recipient's own, as its distillation measures it."""
        return sum(self.divergences) / max(1, len(self.divergences))

    def fidelity(self, unmerged: Sequence[Detections]) -> float:
        """Return the share of sure detections that merged and unmerged recipient have in common."""
        return fidelity(unmerged, self.found, SHOWN)


def merged_of(donor: Member, recipient: Member, spec: MergeSpec, joints: Sequence[FittedJoint]) -> Merged:
    """Return the merged detector of fitted joints."""
    merged = Merged(spec, donor.detector, recipient.fresh(), [joint.module() for joint in joints])
    return place(merged.eval().requires_grad_(False), CPU)


@torch.inference_mode()
def judge(
    donor: Member, recipient: Member, merged: Sequence[Merged], images: Sequence[Path], task: str
) -> tuple[list[Judged], list[Detections]]:
    """Run merged detectors of one pair on images; returns what they did, and what the unmerged recipient found.

    The donor's features are computed once for all of them.
    """
    judged = [Judged(one) for one in merged]
    names = list(dict.fromkeys(name for one in merged if one.spec.is_prefix for name in one.spec.donor_tensors))
    error = family_of(recipient.detector.name).reading.error
    unmerged: list[Detections] = []
    size = recipient.manifest.input_size
    for path in progress(images, unit="image", desc=task):
        frame = read_image(path)
        if frame is None:
            unmerged.append(Detections.empty())
            for one in judged:
                one.found.append(Detections.empty())
            continue
        image, box = square_of(frame, size, recipient.fills)
        own = recipient.detector(image)
        unmerged.append(_found(recipient, own, box, recipient.fills))
        features = {IMAGE: image, **run_to(donor.nodes, {IMAGE: image}, names)}
        for one in judged:
            raw = one.merged.from_features(features)
            one.divergences.append(float(error(raw, own)))
            one.found.append(_found(recipient, raw, box, recipient.fills))
    return judged, unmerged


@torch.inference_mode()
def found_alone(member: Member, images: Sequence[Path], fills: bool, task: str) -> list[Detections]:
    """Return what a detector finds by itself in images seen in the way of another, as a donor sees them."""
    found, size = [], member.manifest.input_size
    for path in progress(images, unit="image", desc=task):
        frame = read_image(path)
        if frame is None:
            found.append(Detections.empty())
            continue
        image, box = square_of(frame, size, fills)
        found.append(_found(member, member.detector(image), box, fills))
    return found


def _found(member: Member, raw: Tensor, box: Letterbox, fills: bool) -> Detections:
    """Return what raw predictions of one image say, in its own pixels."""
    size = member.manifest.input_size
    (found,) = architecture_of(member.detector.name).detections(raw, size, SCORE_THRESHOLD)
    boxes = box.boxes_to_frame(found.boxes, size if fills else None)
    return Detections(boxes, found.scores, found.labels)
