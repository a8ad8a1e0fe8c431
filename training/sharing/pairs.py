"""Every candidate merge of a set of detectors, fitted and looked at on unlabelled images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

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
METRICS = ("r2", "cka", "procrustes", "gram_cosine")  # of tensors alone


@dataclass(frozen=True)
class Unlabelled:
    """Images of what a bundle's cameras see: to fit maps on, and others to try merged detectors on."""

    fit_on: Sequence[Path]
    judge_on: Sequence[Path]


def unlabelled(chosen: Sequence[Path], judge_limit: int) -> Unlabelled:
    """Return images to fit on and others to judge on, at most so many, both from everywhere among them."""
    every = max(2, round(len(chosen) / max(1, min(judge_limit, len(chosen) // 2))))
    judge_on = chosen[::every][:judge_limit]
    return Unlabelled([path for path in chosen if path not in set(judge_on)], judge_on)


@dataclass(frozen=True, eq=False)
class MergeStudy:
    """A merge, and what is known of it without labels."""

    merge: Merge
    joints: tuple[Joint, ...]
    similarity: Mapping[str, float]  # by metric; of tensors the mean over those that are replaced
    bytes_saved: int
    mmacs_saved: float  # a frame that both look at; below zero: the joints cost more than they save
    is_singular: bool

    @property
    def predicted_loss(self) -> float:
        """Percent of what the recipient says that the merged one does not say."""
        return 100 * (1 - self.similarity["tail_agreement"])


def study_pairs(
    members: Mapping[str, Member], merges: Iterable[Merge], images: Mapping[str, Unlabelled]
) -> list[MergeStudy]:
    """Return what is known of merges, pair by pair. Merges that save nothing are fitted, but not looked at further.

    images: of what each bundle's cameras see. A merge is about its recipient's.
    """
    pairs: dict[tuple[str, str], list[Merge]] = {}
    for merge in merges:
        pairs.setdefault((merge.donor, merge.recipient), []).append(merge)
    found: list[MergeStudy] = []
    for (donor, recipient), own in pairs.items():
        found += study_pair(members[donor], members[recipient], own, images[recipient])
    return found


def study_pair(donor: Member, recipient: Member, merges: Sequence[Merge], images: Unlabelled) -> list[MergeStudy]:
    """Return what is known of the merges of one pair that save bytes or computation."""
    task = f"{donor.name} for {recipient.name}"
    fitted = fit_joints(donor, recipient, [merge.spec for merge in merges], images.fit_on, f"{task}: maps")
    made = [merged_of(donor, recipient, merge.spec, own) for merge, own in zip(merges, fitted, strict=True)]
    useful = [
        i for i, one in enumerate(made) if saved_bytes(recipient, one) > 0 or saved_mmacs(donor, recipient, one) > 0
    ]
    judged, unmerged = judge(donor, recipient, [made[i] for i in useful], images.judge_on, f"{task}: boxes")
    return [
        MergeStudy(
            merges[i],
            tuple(joint.module() for joint in fitted[i]),
            {**similarities(fitted[i]), **one.similarities(unmerged)},
            saved_bytes(recipient, made[i]),
            saved_mmacs(donor, recipient, made[i]),
            any(joint.map is not None and joint.map.is_singular for joint in fitted[i]),
        )
        for i, one in zip(useful, judged, strict=True)
    ]


def similarities(joints: Sequence[FittedJoint]) -> dict[str, float]:
    """Return the means over joints of what is measured of each."""
    rows = [(one.r2, one.alignment.cka, one.alignment.procrustes, one.alignment.gram_cosine) for one in joints]
    return {name: sum(column) / len(rows) for name, column in zip(METRICS, zip(*rows, strict=True), strict=True)}


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
    both = nn.ModuleList([merged, donor.detector])  # what is borrowed of it is computed for the recipient once more
    return (alone - count_macs(both, lambda: merged.from_features(features))) / 1e6
