"""What a little training of the joints alone adds: closed form on more images, and then some steps of distillation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.sharing.merges import Images, Row
from benchmarks.sharing.trials import ACROSS, ANCESTOR, trials
from splitnet.nn.merged import Merged, MergeSpec
from training.sharing.fitting import fit_joints
from training.sharing.judge import judge, merged_of
from training.sharing.members import Member
from training.sharing.merge import Merge
from training.sharing.pairs import saved_bytes, saved_mmacs
from training.sharing.refine import refine

LEAST_SAVED = 0.30  # of both detectors' weights, for those of a common ancestor


def distilled_row(members: Sequence[Member], row: Row, images: Mapping[str, Images], steps: int) -> dict[str, Any]:
    """Return the accuracy of a merge in closed form and after some steps on its joints."""
    by_name = {member.name: member for member in members}
    donor, recipient = by_name[row["a"]], by_name[row["b"]]
    return distilled(donor, recipient, row["label"], images[recipient.name], steps)


def chosen(merges: Sequence[Row], count: int) -> list[Row]:
    """Return the merges to be trained: by turns, the best maps that save enough, and the best across families."""
    maps = [row for row in merges if row["kind"] in ("map", "own stem")]
    related = [row for row in maps if row["group"] == ANCESTOR and saves_enough(row)]
    foreign = [row for row in maps if row["group"] == ACROSS and row["kind"] == "own stem"]
    ranked = [sorted(own, key=lambda row: -float(row["ap_kept"])) for own in (related, foreign)]
    turns = [one for pair in zip(*ranked, strict=False) for one in pair]
    return turns[:count]


def saves_enough(row: Row) -> bool:
    """Return whether a merge saves the wanted share of two detectors as large as its recipient."""
    return bool(row["bytes_saved"] >= LEAST_SAVED * 2 * row["bytes_alone"])


def distilled(donor: Member, recipient: Member, label: str, images: Images, steps: int) -> dict[str, Any]:
    """Return the row of one merge, which is found again by its label."""
    labelled = images.labelled
    spec = spec_of(donor, recipient, label)
    (joints,) = fit_joints(donor, recipient, [spec], images.fit_on, "maps")
    merged = merged_of(donor, recipient, spec, joints)
    paths = [image.path for image in labelled.images]
    (closed,), alone = judge(donor, recipient, [merged], paths, "closed form")
    own, ap_closed = labelled.accuracy(alone).ap, labelled.accuracy(closed.found).ap
    refine(donor, recipient, merged, images.fit_on, steps, "steps on the joints")
    (trained,), _ = judge(donor, recipient, [merged], paths, "after the steps")
    return {
        "a": donor.name,
        "b": recipient.name,
        "label": label,
        "ap_alone": own,
        "ap_closed_form": ap_closed,
        "ap_after_steps": labelled.accuracy(trained.found).ap,
        "steps": steps,
        "fit_images": len(images.fit_on),
        "images": len(paths),
        **_costs(donor, recipient, merged),
    }


def spec_of(donor: Member, recipient: Member, label: str) -> MergeSpec:
    """Return the merge of a pair that has a label."""
    every = (one.spec for one in trials(donor, recipient, is_whole=True))
    return next(spec for spec in every if Merge(donor.name, recipient.name, spec).label == label)


def _costs(donor: Member, recipient: Member, merged: Merged) -> Mapping[str, float]:
    saved, both = saved_bytes(recipient, merged), 4 * (donor.total_parameters + recipient.total_parameters)
    mmacs = saved_mmacs(donor, recipient, merged)
    return {"bytes_saved": saved, "bytes_of_both": both, "mmacs_saved": round(mmacs, 1)}
