"""Merges of real detectors, measured: what each measure says of them beforehand, and what they then find."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.sharing.trials import (
    ACROSS,
    ANCESTOR,
    Trial,
    group_of,
    random_pairs,
    read_shuffled,
    trials,
    weight_distance,
)
from splitnet.nn.architectures import architecture_of
from splitnet.nn.joint import COPY, Joint
from splitnet.nn.merged import Merged, MergeSpec
from training.evaluation.average_precision import LabelledSet
from training.sharing.fitting import FittedJoint, fit_joints
from training.sharing.judge import Judged, judge, merged_of
from training.sharing.members import Member
from training.sharing.merge import Merge, across, same_names
from training.sharing.pairs import saved_bytes, saved_mmacs, similarities

Row = dict[str, Any]

LEAST_AP = 5.0  # of a recipient: what a merge keeps of less says nothing

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Images:
    """What a recipient's merges are fitted on, looked at without labels, and measured on: of the same cameras."""

    fit_on: Sequence[Path]
    judge_on: Sequence[Path]
    labelled: LabelledSet


def pairs_of(members: Sequence[Member]) -> Iterator[tuple[Member, Member, bool]]:
    """Yield donor, recipient and whether every merge is tried: between the first bundle and the next two, that is.

    Of the others, those of one family are paired both ways; across families the first bundle is the donor.
    """
    for i, donor in enumerate(members):
        for j, recipient in enumerate(members):
            group = group_of(donor, recipient)
            is_paired = max(i, j) < 3 or group != ACROSS or i == 0
            if i != j and is_paired:
                yield donor, recipient, max(i, j) < 3 and min(i, j) == 0 and (i < j or group == ACROSS)


def measure_pair(donor: Member, recipient: Member, is_whole: bool, images: Images) -> list[Row]:
    """Return the rows of a pair's merges, its controls among them."""
    tried = list(trials(donor, recipient, is_whole))
    if is_whole:
        tried += list(random_pairs(donor, recipient, 2))
    rows = _measured(donor, recipient, tried, images)
    if is_whole and group_of(donor, recipient) == ANCESTOR:
        rows += _shuffled(donor, recipient, images)
    return rows


def measure_noise(recipient: Member, images: Images) -> list[Row]:
    """Return the rows of a donor with random weights: even that can be stitched."""
    torch.manual_seed(0)
    architecture = architecture_of(recipient.detector.name)
    detector = architecture.build(recipient.detector.name, len(recipient.manifest.class_names)).eval()
    noise = Member(recipient.folder, recipient.manifest, detector, "random weights")
    cuts = [node.name for node in recipient.nodes[:-1]]
    specs = [same_names(noise, recipient, cuts[1], 1)]
    specs += [across(noise, recipient, cuts[2], 3, 1, cuts[2])]
    return _measured(noise, recipient, [Trial(spec, "noise") for spec in specs], images)


def _measured(donor: Member, recipient: Member, tried: Sequence[Trial], images: Images) -> list[Row]:
    task = f"{donor.name} for {recipient.name}"
    joints = fit_joints(donor, recipient, [one.spec for one in tried], images.fit_on, f"{task}: maps")
    made = [merged_of(donor, recipient, one.spec, own) for one, own in zip(tried, joints, strict=True)]
    known = [_known(donor, recipient, one.spec, own) for one, own in zip(tried, joints, strict=True)]
    return _rows(donor, recipient, [(one.spec, one.kind) for one in tried], made, known, images)


def _shuffled(donor: Member, recipient: Member, images: Images) -> list[Row]:
    """Measure copies whose channels have been shuffled: the same values in the wrong places."""
    cuts = [node.name for node in recipient.nodes[:-1]]
    tried, made, known = [], [], []
    for cut in (cuts[1], cuts[2]):
        copied = same_names(donor, recipient, cut, COPY)
        spec = MergeSpec(cut, tuple(read_shuffled(joint) for joint in copied.joints))
        (fitted,) = fit_joints(donor, recipient, [copied], images.fit_on, f"{cut} shuffled")
        joints = [_permuting(Joint(joint)) for joint in spec.joints]
        tried.append((spec, "shuffled"))
        made.append(Merged(spec, donor.detector, recipient.fresh(), joints).eval())
        known.append({**_known(donor, recipient, copied, fitted), "r2": None})
    return _rows(donor, recipient, tried, made, known, images)


def _permuting(joint: Joint) -> Joint:
    order = torch.randperm(joint.spec.channels, generator=torch.Generator().manual_seed(0))
    weight = torch.eye(joint.spec.channels)[order][:, :, None, None]
    joint.conv.load_state_dict({"weight": weight, "bias": torch.zeros(joint.spec.channels)})
    return joint.eval().requires_grad_(False)


def _known(donor: Member, recipient: Member, spec: MergeSpec, joints: Sequence[FittedJoint]) -> dict[str, float | None]:
    """Return every measure of a merge that needs no tail: similarities, and dumb ones to be beaten."""
    nodes = [node.name for node in recipient.nodes]
    replaced = nodes[: nodes.index(spec.cut) + 1]
    depths = [
        abs(donor.depth(source.name) / len(donor.nodes) - recipient.depth(joint.target) / len(recipient.nodes))
        for joint in spec.joints
        for source in joint.sources
        if not source.is_own
    ]
    return {
        **similarities(joints),
        "depth_difference": max(depths, default=0.0),
        "parameters_replaced": float(sum(recipient.parameters[name] for name in replaced)),
        "output_size": float(sum(joint.channels / joint.stride**2 for joint in spec.joints)),
        "weight_distance": weight_distance(donor, recipient, replaced),
    }


def _rows(
    donor: Member,
    recipient: Member,
    tried: Sequence[tuple[MergeSpec, str]],
    made: Sequence[Merged],
    known: Sequence[Mapping[str, float | None]],
    images: Images,
) -> list[Row]:
    labelled = images.labelled
    paths = [image.path for image in labelled.images]
    looked, looked_alone = judge(donor, recipient, made, images.judge_on, "without labels")
    judged, alone = judge(donor, recipient, made, paths, "AP")
    own = labelled.accuracy(alone).ap
    if own < LEAST_AP:
        logger.warning("%s finds too little to be a recipient: AP %.1f", recipient.name, own)
        return []
    rows = []
    for (spec, kind), merged, measures, look, one in zip(tried, made, known, looked, judged, strict=True):
        similarity = {**measures, **look.similarities(looked_alone)}
        rows.append(_row(donor, recipient, spec, kind, merged, similarity, one, alone, own, labelled))
    return rows


def _row(
    donor: Member,
    recipient: Member,
    spec: MergeSpec,
    kind: str,
    merged: Merged,
    similarity: Mapping[str, float | None],
    judged: Judged,
    alone: Sequence[Any],
    own: float,
    labelled: LabelledSet,
) -> Row:
    ap = labelled.accuracy(judged.found).ap
    control = kind in ("random pair", "shuffled", "noise")
    return {
        "kind": kind,
        "group": "control" if control else group_of(donor, recipient),
        "a": donor.name,
        "b": recipient.name,
        "cut": spec.cut,
        "label": Merge(donor.name, recipient.name, spec).label,
        "similarity": dict(similarity),
        "ap_alone": own,
        "ap": ap,
        "ap_loss": round(own - ap, 2),
        "ap_kept": round(100 * ap / own, 2),
        "fidelity": judged.fidelity(alone),
        "bytes_saved": saved_bytes(recipient, merged),
        "bytes_alone": 4 * recipient.total_parameters,
        "mmacs_saved": round(saved_mmacs(donor, recipient, merged), 1),
    }
