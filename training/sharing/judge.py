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
from splitnet.fidelity import above, fidelity
from splitnet.letterbox import Letterbox
from splitnet.nn.architectures import architecture_of
from splitnet.nn.blocks import place
from splitnet.nn.detector import IMAGE, RAW
from splitnet.nn.graph import run_to
from splitnet.nn.merged import Merged, MergeSpec
from training.data.images import read_image
from training.detectors.family import family_of
from training.evaluation.average_precision import accuracy_against
from training.evaluation.measure import SCORE_THRESHOLD
from training.sharing.agreement import FeatureAgreement, ScoreAgreement
from training.sharing.fitting import FittedJoint
from training.sharing.members import Member, square_of

CPU = torch.device("cpu")


@dataclass(eq=False)
class Judged:
    """What one merged detector has done so far."""

    merged: Merged
    found: list[Detections] = field(default_factory=list)
    divergences: list[float] = field(default_factory=list)
    scores: ScoreAgreement = field(default_factory=ScoreAgreement)
    features: FeatureAgreement = field(default_factory=FeatureAgreement)

    @property
    def divergence(self) -> float:
        """Mean distance of the raw predictions from the recipient's own, as its distillation measures it."""
        return sum(self.divergences) / max(1, len(self.divergences))

    def fidelity(self, unmerged: Sequence[Detections]) -> float:
        """Return the share of sure detections that merged and unmerged recipient have in common."""
        return fidelity(unmerged, self.found, SHOWN)

    def similarities(self, unmerged: Sequence[Detections]) -> dict[str, float]:
        """Return what the tail says of the merge, by metric, beside what the unmerged recipient found."""
        fidelity_, explained = self.fidelity(unmerged), self.scores.explained
        return {
            "r2_neck": self.features.r2,
            "scores_explained": explained,
            "divergence": self.divergence,
            "fidelity_unlabelled": fidelity_,
            "own_ap": accuracy_against(above(unmerged, SHOWN), self.found).ap,
            "tail_agreement": tail_agreement(fidelity_, explained),
        }


def tail_agreement(fidelity_unlabelled: float, scores_explained: float) -> float:
    """Return the mean of both: what users see of the tail's answers, and the scores beneath, which are less chancy."""
    return (fidelity_unlabelled + scores_explained) / 2


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
    necks = recipient.nodes[-1].inputs
    names = list(dict.fromkeys(name for one in merged if one.spec.is_prefix for name in one.spec.donor_tensors))
    reading = family_of(recipient.detector.name).reading
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
        own = run_to(recipient.nodes, {IMAGE: image}, [*necks, RAW])
        unmerged.append(_found(recipient, own[RAW], box, recipient.fills))
        features = {IMAGE: image, **run_to(donor.nodes, {IMAGE: image}, names)}
        scores = reading.scores(own[RAW])
        for one in judged:
            known = one.merged.behind_by_name(one.merged.joined(features))
            one.divergences.append(float(reading.error(known[RAW], own[RAW])))
            one.scores.add(scores, reading.scores(known[RAW]))
            one.features.add(own, known, necks)
            one.found.append(_found(recipient, known[RAW], box, recipient.fills))
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
