"""The `share` command: find what detectors can have in common, without labels and without training, into a plan."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitnet.atomic_write import write_json
from splitnet.environment import environment
from splitnet.errors import ConfigError
from splitnet.manifest import Accuracy
from splitnet.settings import count, option
from splitnet.sharing_plan import PlannedBundle, PlannedMerge, SharingPlan, save_plan
from splitnet.text_table import text_table
from training.command import Command
from training.cuts.components import spread
from training.cuts.plot import can_draw
from training.data.images import find_images
from training.evaluation.average_precision import LabelledSet
from training.sharing.judge import found_alone, judge
from training.sharing.members import Member, check_same_square
from training.sharing.merge import candidates
from training.sharing.pairs import PARAMETER_BYTES, MergeStudy, Unlabelled, study_pairs, unlabelled
from training.sharing.plot import draw_plan, draw_similarity
from training.sharing.search import MAX_MEMBERS, Choice, Priced, best_within, choices

STUDY_FILE = "study.json"  # everything that was looked at
COLUMNS = ("up to", "kept from", "R2", "CKA", "predicted loss %", "MB saved", "MMACs saved", "AP", "with the plan")


@dataclass(frozen=True)
class ShareSettings:
    """Which bundles to merge, on which images, and within what."""

    bundles: Sequence[Path] = option("two or more bundles whose detectors are to share", metavar="DIR", nargs="+")
    images: Sequence[Path] = option(
        "images of what the cameras see, without labels: one folder for all, or one for each bundle in turn",
        metavar="DIR",
        nargs="+",
    )
    out: Path = option("folder for the plan", metavar="PLAN")
    budget_mb: float = option(
        "most that the detectors' weights may take together, in MB; 0: the least loss that saves anything", default=0.0
    )
    fit_limit: int = option("how many images the maps are fitted on at most", default=200, type=count)
    judge_limit: int = option("how many other images the merged detectors are tried on", default=40, type=count)
    labelled_images: Sequence[Path] = option(
        "folders of labelled images, to measure the plan by AP", default=(), metavar="DIR", nargs="+"
    )
    annotations: Sequence[Path] = option(
        "their COCO annotations, one for each folder", default=(), metavar="FILE", nargs="+"
    )
    json: bool = option("print the study as JSON instead of a table", default=False)
    threads: int = option("CPU threads", default=1, type=count)

    def __post_init__(self) -> None:
        """Raise ConfigError on what contradicts itself."""
        if not 2 <= len(self.bundles) <= MAX_MEMBERS:
            raise ConfigError(f"--bundles takes 2 to {MAX_MEMBERS} bundles, not {len(self.bundles)}")
        if len(self.images) not in (1, len(self.bundles)):
            raise ConfigError(f"--images takes one folder, or {len(self.bundles)}: one for each bundle")
        if self.budget_mb < 0:
            raise ConfigError("--budget-mb must not be negative")
        if len(self.labelled_images) != len(self.annotations):
            raise ConfigError("--labelled-images and --annotations belong together: one file for each folder")


@dataclass(frozen=True, eq=False)
class Shared:
    """What came of it."""

    members: Mapping[str, Member]
    studies: Sequence[MergeStudy]
    front: Sequence[Choice]
    choice: Choice
    is_within: bool
    accuracies: Mapping[str, tuple[Accuracy, Accuracy]]  # by bundle: alone, and with the plan

    @property
    def chosen(self) -> list[MergeStudy]:
        """The merges of the plan."""
        return [self.studies[one.index] for one in self.choice.merges]


def share(settings: ShareSettings) -> Shared:
    """Find a plan and write it. ConfigError on bundles that cannot share, or images that are too few."""
    loaded = [Member.load(folder) for folder in settings.bundles]
    check_same_square(loaded)
    members = {member.name: member for member in loaded}
    if len(members) < len(loaded):
        raise ConfigError("two of the bundles have the same name: rename one, so that the plan can tell them apart")
    folders = list(settings.images) * (len(loaded) if len(settings.images) == 1 else 1)
    images = {member.name: _images(settings, folder) for member, folder in zip(loaded, folders, strict=True)}
    studies = study_pairs(members, candidates(loaded), images)
    sizes = {name: PARAMETER_BYTES * member.total_parameters for name, member in members.items()}
    priced = [_priced(i, study) for i, study in enumerate(studies)]
    front = choices(sizes, priced)
    budget = settings.budget_mb * 1e6 or (sum(sizes.values()) - 1)
    choice, is_within = best_within(front, budget)
    accuracies = _accuracies(settings, members, [studies[one.index] for one in choice.merges])
    shared = Shared(members, studies, front, choice, is_within, accuracies)
    _write(settings, shared)
    return shared


def _images(settings: ShareSettings, folder: Path) -> Unlabelled:
    """Return the images of a folder to fit on and other ones to judge on, both spread over it."""
    found = find_images([folder], settings.annotations)
    if len(found) < 8:
        raise ConfigError(f"{folder} holds {len(found)} images: some hundred make good maps, 8 are the least")
    return unlabelled(spread(found, settings.fit_limit + settings.judge_limit), settings.judge_limit)


def _priced(index: int, study: MergeStudy) -> Priced:
    merge = study.merge
    return Priced(merge.donor, merge.recipient, index, study.predicted_loss, study.bytes_saved)


def _accuracies(
    settings: ShareSettings, members: Mapping[str, Member], chosen: Sequence[MergeStudy]
) -> dict[str, tuple[Accuracy, Accuracy]]:
    """Return the AP of every bundle that some annotations fit, alone and with the plan."""
    found: dict[str, tuple[Accuracy, Accuracy]] = {}
    for folder, file in zip(settings.labelled_images, settings.annotations, strict=True):
        for name, member in members.items():
            try:
                labelled = LabelledSet(folder, file, member.manifest.class_names)
            except ConfigError:
                continue  # of another bundle's classes
            found[name] = _accuracy(members, member, labelled, chosen)
    return found


def _accuracy(
    members: Mapping[str, Member], member: Member, labelled: LabelledSet, chosen: Sequence[MergeStudy]
) -> tuple[Accuracy, Accuracy]:
    paths = [image.path for image in labelled.images]
    study = next((one for one in chosen if one.merge.recipient == member.name), None)
    if study is not None:
        donor = members[study.merge.donor]
        merged = _rebuilt(donor, member, study)
        (judged,), alone = judge(donor, member, [merged], paths, f"AP of {member.name}")
        return labelled.accuracy(alone), labelled.accuracy(judged.found)
    own = labelled.accuracy(found_alone(member, paths, member.fills, f"AP of {member.name}"))
    views = {members[one.merge.recipient].fills for one in chosen if one.merge.donor == member.name}
    if views <= {member.fills}:
        return own, own
    seen = found_alone(member, paths, not member.fills, f"AP of {member.name} as its recipients see")
    return own, labelled.accuracy(seen)


def _rebuilt(donor: Member, recipient: Member, study: MergeStudy) -> Any:
    from splitnet.nn.merged import Merged

    return Merged(study.merge.spec, donor.detector, recipient.fresh(), study.joints).eval()


def _write(settings: ShareSettings, shared: Shared) -> None:
    digests = {name: member.manifest.digest for name, member in shared.members.items()}
    merges = tuple(_planned(study, digests, shared) for study in shared.chosen)
    plan = SharingPlan(tuple(PlannedBundle(name, digest) for name, digest in digests.items()), merges)
    save_plan(settings.out, plan, {digests[s.merge.recipient]: s.joints for s in shared.chosen})
    write_json(settings.out / STUDY_FILE, record_of(shared))
    if can_draw():
        draw_plan(settings.out, record_of(shared))
        draw_similarity(settings.out, record_of(shared))


def _planned(study: MergeStudy, digests: Mapping[str, str], shared: Shared) -> PlannedMerge:
    merge = study.merge
    figures = {**study.similarity, "bytes_saved": float(study.bytes_saved)}
    figures |= {"mmacs_saved": study.mmacs_saved, "predicted_loss": study.predicted_loss}
    if merge.recipient in shared.accuracies:
        alone, merged = shared.accuracies[merge.recipient]
        figures |= {"ap_alone": alone.ap, "ap": merged.ap}
    return PlannedMerge(digests[merge.donor], digests[merge.recipient], merge.spec, figures)


def record_of(shared: Shared) -> dict[str, Any]:
    """Return everything that was looked at as JSON values."""
    kept = {id(study) for study in shared.chosen}
    return {
        "bundles": [
            {
                "name": name,
                "detector": m.detector.name,
                "bytes": PARAMETER_BYTES * m.total_parameters,
                "nodes": m.parameters,
            }
            for name, m in shared.members.items()
        ],
        "merges": [_row(study, id(study) in kept) for study in shared.studies],
        "front": [
            {"bytes": one.bytes, "loss": one.loss, "merges": [m.index for m in one.merges]} for one in shared.front
        ],
        "bytes": shared.choice.bytes,
        "predicted_loss": shared.choice.loss,
        "within_budget": shared.is_within,
        "accuracy": {n: {"alone": a.ap, "shared": b.ap} for n, (a, b) in shared.accuracies.items()},
        **environment(),
    }


def _row(study: MergeStudy, is_chosen: bool) -> dict[str, Any]:
    merge = study.merge
    return {
        "donor": merge.donor,
        "recipient": merge.recipient,
        "cut": merge.spec.cut,
        "label": merge.label,
        "similarity": dict(study.similarity),
        "predicted_loss": study.predicted_loss,
        "bytes_saved": study.bytes_saved,
        "mmacs_saved": study.mmacs_saved,
        "singular": study.is_singular,
        "chosen": is_chosen,
    }


def as_text(settings: ShareSettings, shared: Shared) -> str:
    """Return what came of it for people."""
    total = sum(PARAMETER_BYTES * member.total_parameters for member in shared.members.values())
    rows = [_cells(study, shared) for study in shared.chosen]
    blocks = [text_table(("bundle", *COLUMNS), rows, left=("bundle", "up to", "kept from"))] if rows else []
    share_saved = 1 - shared.choice.bytes / total
    blocks.append(f"{total / 1e6:.2f} MB of weights become {shared.choice.bytes / 1e6:.2f} MB, {share_saved:.0%} less")
    if not shared.is_within:
        wanted = f"nothing fits into {settings.budget_mb:g} MB" if settings.budget_mb else "nothing can be saved"
        blocks.append(f"{wanted}: this is the smallest plan there is, and what it costs")
    if any(study.is_singular for study in shared.chosen):
        blocks.append("the images are too few or too alike for the maps: a ridge holds them. Give more of them")
    blocks.append(f"written to {settings.out}: serve it with `cloud-server serve --plan {settings.out}`")
    if not can_draw():
        blocks.append("not drawn: that needs matplotlib, of the extra [demo]")
    return "\n\n".join(blocks)


def _cells(study: MergeStudy, shared: Shared) -> tuple[str, ...]:
    merge, alike = study.merge, study.similarity
    accuracy = shared.accuracies.get(merge.recipient)
    return (
        merge.recipient,
        merge.spec.cut,
        merge.donor,
        f"{alike['r2']:.3f}",
        f"{alike['cka']:.3f}",
        f"{study.predicted_loss:.1f}",
        f"{study.bytes_saved / 1e6:.2f}",
        f"{study.mmacs_saved:.0f}",
        "-" if accuracy is None else f"{accuracy[0].ap:.1f}",
        "-" if accuracy is None else f"{accuracy[1].ap:.1f}",
    )


def _run(settings: ShareSettings) -> str:
    shared = share(settings)
    return json.dumps(record_of(shared), indent=1) if settings.json else as_text(settings, shared)


COMMAND = Command(
    "share", "find what several detectors can have in common, without labels or training", ShareSettings, _run
)
