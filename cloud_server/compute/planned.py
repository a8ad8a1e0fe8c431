"""A sharing plan as the server follows it: which of the bundles at hand are merged, and how one of them is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from splitnet.bundle import ServerBundle, load_detector, load_server
from splitnet.errors import BundleError, ConfigError
from splitnet.manifest import load_manifest
from splitnet.nn.joint import Joint
from splitnet.nn.merged import Merged
from splitnet.sharing_plan import MAKE_ANEW, PlannedMerge, SharingPlan, load_joints, load_plan


@dataclass(frozen=True, eq=False)
class Planned:
    """A plan that fits the bundles that are served."""

    plan: SharingPlan
    joints: Mapping[str, Sequence[Joint]]  # by the digests of recipients
    folders: Mapping[str, Path]  # by the digests of bundles

    @property
    def digest(self) -> str:
        """The plan's digest."""
        return self.plan.digest

    def merge_of(self, digest: str) -> PlannedMerge | None:
        """Return how a bundle is merged; None if it is a donor or not part of the plan."""
        return next((one for one in self.plan.merges if one.recipient == digest), None)

    def load(self, digest: str) -> ServerBundle:
        """Load a recipient, its unsplit detector merged. BundleError if the bundles do not fit the plan.

        The donor's layers are loaded once more; the store of tensors sees that they are the donor's.
        """
        merge = self.merge_of(digest)
        assert merge is not None
        bundle = load_server(self.folders[digest])
        donor_folder = self.folders[merge.donor]
        donor = load_detector(donor_folder, load_manifest(donor_folder))
        if donor is None or bundle.detector is None:
            raise BundleError(f"{self.folders[digest]}: a detector that the plan merges is not there; {MAKE_ANEW}")
        try:
            merged = Merged(merge.spec, donor, bundle.detector, self.joints[digest], holds_donor=True)
        except ConfigError as error:
            raise BundleError(f"{self.folders[digest]} does not fit the plan ({error}); {MAKE_ANEW}") from error
        return replace(bundle, detector=merged.eval().requires_grad_(False))


def planned(folder: Path, served: Mapping[str, Path]) -> Planned:
    """Return a plan for the bundles that are served, by digest. BundleError if it is broken, or they are others."""
    plan = load_plan(folder)
    by_name = {load_manifest(path).name: digest for digest, path in served.items()}
    for one in plan.bundles:
        if one.digest not in served:
            now = by_name.get(one.name)
            found = f"which is now {now[:12]}" if now else "which is not served here"
            raise BundleError(f"the plan {folder} is for {one.name} ({one.digest[:12]}), {found}; {MAKE_ANEW}")
    return Planned(plan, load_joints(folder, plan), served)
