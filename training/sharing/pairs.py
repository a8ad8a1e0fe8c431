"""Every candidate merge of a set of detectors, fitted and looked at on unlabelled images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from splitnet.nn.detector import IMAGE
from splitnet.nn.graph import run_to
from splitnet.nn.joint import Joint
from splitnet.nn.macs import count_macs
from splitnet.nn.merged import Merged
from training.sharing.fitting import FittedJoint, fit_joints
from training.sharing.judge import judge, merged_of
from training.sharing.members import Member
from training.sharing.merge import Merge

PARAMETER_BYTES = 4  # single precision, in which detectors run
METRICS = ("r2", "cka", "procrustes", "gram_cosine", "divergence")


@dataclass(frozen=True, eq=False)
class MergeStudy:
    """A merge, and what is known of it without labels."""

    merge: Merge
    joints: tuple[Joint, ...]
    similarity: Mapping[str, float]  # by metric; the mean over the tensors that are replaced
    fidelity: float  # share of sure detections that merged and unmerged recipient have in common, 0..1
    bytes_saved: int
    mmacs_saved: float  # a frame that both look at; below zero: the joints cost more than they save
    is_singular: bool

    @property
    def predicted_loss(self) -> float:
        """Percent of what the recipient is sure of that the merged one does not find, or finds besides."""
        return 100 * (1 - self.fidelity)


def study_pairs(
    members: Mapping[str, Member], merges: Iterable[Merge], fit_on: Sequence[Path], judge_on: Sequence[Path]
) -> list[MergeStudy]:
    """Return what is known of merges, pair by pair. Merges that save nothing are fitted, but not looked at further."""
    pairs: dict[tuple[str, str], list[Merge]] = {}
    for merge in merges:
        pairs.setdefault((merge.donor, merge.recipient), []).append(merge)
    found: list[MergeStudy] = []
    for (donor, recipient), own in pairs.items():
        found += study_pair(members[donor], members[recipient], own, fit_on, judge_on)
    return found


def study_pair(
    donor: Member, recipient: Member, merges: Sequence[Merge], fit_on: Sequence[Path], judge_on: Sequence[Path]
) -> list[MergeStudy]:
    """Return what is known of the merges of one pair that save bytes or computation."""
    task = f"{donor.name} for {recipient.name}"
    fitted = fit_joints(donor, recipient, [merge.spec for merge in merges], fit_on, f"{task}: maps")
    made = [merged_of(donor, recipient, merge.spec, own) for merge, own in zip(merges, fitted, strict=True)]
    useful = [
        i for i, one in enumerate(made) if saved_bytes(recipient, one) > 0 or saved_mmacs(donor, recipient, one) > 0
    ]
    judged, unmerged = judge(donor, recipient, [made[i] for i in useful], judge_on, f"{task}: boxes")
    return [
        MergeStudy(
            merges[i],
            tuple(joint.module() for joint in fitted[i]),
            {**similarities(fitted[i]), "divergence": one.divergence},
            one.fidelity(unmerged),
            saved_bytes(recipient, made[i]),
            saved_mmacs(donor, recipient, made[i]),
            any(joint.map is not None and joint.map.is_singular for joint in fitted[i]),
        )
        for i, one in zip(useful, judged, strict=True)
    ]


def similarities(joints: Sequence[FittedJoint]) -> dict[str, float]:
    """Return the means over joints of what is measured of each."""
    rows = [(one.r2, one.alignment.cka, one.alignment.procrustes, one.alignment.gram_cosine) for one in joints]
    return {name: sum(column) / len(rows) for name, column in zip(METRICS, zip(*rows, strict=True), strict=False)}


def saved_bytes(recipient: Member, merged: Merged) -> int:
    """Return how many bytes of parameters a merge saves, its joints counted."""
    kept = sum(x.numel() for x in merged.parameters())
    return PARAMETER_BYTES * (recipient.total_parameters - kept)


def saved_mmacs(donor: Member, recipient: Member, merged: Merged) -> float:
    """Return how much less is computed for a frame that both look at: 0 for a segment, which is computed twice."""
    if not merged.spec.is_prefix:
        return 0.0
    side = recipient.manifest.input_size
    image = torch.zeros(1, 3, side, side)
    alone = count_macs(recipient.detector, lambda: recipient.detector(image))
    with torch.inference_mode():
        features = {IMAGE: image, **run_to(donor.nodes, {IMAGE: image}, merged.spec.donor_tensors)}
    return (alone - count_macs(merged, lambda: merged.from_features(features))) / 1e6
