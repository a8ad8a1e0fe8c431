"""Two small bundles that share a front, and the plan for them: random weights, maps of a few drawn images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from splitnet.manifest import Manifest
from splitnet.nn.joint import COPY, Joint, JointSpec
from splitnet.nn.merged import MergeSpec
from splitnet.sharing_plan import PlannedBundle, PlannedMerge, SharingPlan, save_plan
from tests.support.tiny_bundle import write_tiny_bundle
from training.sharing.members import Member
from training.sharing.merge import joint_to, same_names, segment


@dataclass(frozen=True)
class Pair:
    """A donor, a recipient, and a plan."""

    donor: Path
    recipient: Path
    plan: Path
    donor_manifest: Manifest
    recipient_manifest: Manifest


def write_pair(folder: Path, cut: str = "dark4", kernel: int = 1, kind: str = "prefix") -> Pair:
    """Write two bundles and a plan with random maps; kind: "prefix", "own" (reads its stem), "segment"."""
    donor, recipient = folder / "donor", folder / "recipient"
    manifests = write_tiny_bundle(donor, seed=0), write_tiny_bundle(recipient, seed=1)
    a, b = Member.load(donor), Member.load(recipient)
    spec = _spec(a, b, cut, kernel, kind)
    write_plan(folder / "plan", manifests, spec)
    return Pair(donor, recipient, folder / "plan", *manifests)


def _spec(a: Member, b: Member, cut: str, kernel: int, kind: str) -> MergeSpec:
    if kind == "own":
        return MergeSpec(cut, (joint_to(cut, b, [(a, cut, False), (b, "stem", True)], kernel),))
    return segment(a, b, "dark3", cut, COPY) if kind == "segment" else same_names(a, b, cut, kernel)


def write_plan(folder: Path, manifests: tuple[Manifest, Manifest], spec: MergeSpec) -> SharingPlan:
    """Write a plan by which the second of two bundles is merged with the first."""
    donor, recipient = manifests
    bundles = tuple(PlannedBundle(one.name, one.digest) for one in manifests)
    plan = SharingPlan(bundles, (PlannedMerge(donor.digest, recipient.digest, spec),))
    return save_plan(folder, plan, {recipient.digest: [random_joint(one) for one in spec.every_joint]})


def random_joint(spec: JointSpec) -> Joint:
    """Return a joint with random weights: a copy has none."""
    torch.manual_seed(7)
    return Joint(spec).eval().requires_grad_(False)
