"""A sharing plan on disk: which detectors use which parts of others. plan.json, and joints.safetensors with the maps.

A plan names bundles by their digests: it is of use only for the very weights that it was made from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save as save_tensors
from torch import Tensor

from splitnet.atomic_write import write_atomically, write_json
from splitnet.bundle import entry_of, read_weights
from splitnet.errors import BundleError, ConfigError
from splitnet.json_values import integer, number, text
from splitnet.manifest import FileEntry
from splitnet.nn.joint import Joint, JointSpec, Source
from splitnet.nn.merged import MergeSpec
from splitnet.regular_file import read_regular

FORMAT_VERSION = 1
PLAN_FILE, JOINTS_FILE = "plan.json", "joints.safetensors"
MAX_FILE_BYTES = 1_000_000
MAX_MEMBERS = 64
MAX_JOINTS = 32  # of a merge: no detector has so many tensors behind a cut
MAKE_ANEW = "make the plan anew with `python -m training share`"


@dataclass(frozen=True)
class PlannedBundle:
    """A bundle that a plan is for."""

    name: str
    digest: str  # SHA-256, hexadecimal


@dataclass(frozen=True)
class PlannedMerge:
    """A recipient that uses a donor's nodes. Digests name bundles; figures are for people and programs to read."""

    donor: str
    recipient: str
    spec: MergeSpec
    figures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SharingPlan:
    """Bundles and the merges among them. No donor is a recipient: nothing is built on what stands in for something."""

    bundles: tuple[PlannedBundle, ...]
    merges: tuple[PlannedMerge, ...]
    joints: FileEntry | None = None  # None until it is on disk

    def __post_init__(self) -> None:
        """Raise ConfigError on a plan that contradicts itself."""
        known = [bundle.digest for bundle in self.bundles]
        recipients = [merge.recipient for merge in self.merges]
        if len(set(known)) < len(known) or len(set(recipients)) < len(recipients):
            raise ConfigError("a bundle is named twice")
        if not {one.donor for one in self.merges} | set(recipients) <= set(known):
            raise ConfigError("a merge names a bundle that is not listed")
        if {merge.donor for merge in self.merges} & set(recipients):
            raise ConfigError("a donor is a recipient as well")

    @property
    def digest(self) -> str:
        """SHA-256, hexadecimal, of all that decides what is computed."""
        merges = [[one.donor, one.recipient, _essence(one.spec)] for one in self.merges]
        essence = {"format_version": FORMAT_VERSION, "merges": merges, "joints": self.joints and self.joints.sha256}
        return hashlib.sha256(json.dumps(essence, sort_keys=True).encode()).hexdigest()

    def name_of(self, digest: str) -> str:
        """Return the name of a bundle."""
        return next(one.name for one in self.bundles if one.digest == digest)


def _essence(spec: MergeSpec) -> dict[str, Any]:
    """Return what a merge is; plans from before nodes could be borrowed keep their digests."""
    values = asdict(spec)
    if not spec.borrowed:
        del values["borrowed"]
    return values


def save_plan(folder: Path, plan: SharingPlan, joints: Mapping[str, Sequence[Joint]]) -> SharingPlan:
    """Write a plan, and its joints by the digests of their recipients; returns it. plan.json is written last."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    for digest, modules in joints.items():
        for number_, module in enumerate(modules):
            for name, tensor in module.state_dict().items():
                tensors[f"{digest}.{number_}.{name}"] = tensor.detach().float().contiguous()
    data = save_tensors(tensors)
    written = replace(plan, joints=entry_of(data))
    write_atomically(folder / JOINTS_FILE, data)
    values = {"format_version": FORMAT_VERSION, "digest": written.digest, **asdict(written)}
    write_json(folder / PLAN_FILE, values)
    return written


def load_plan(folder: Path) -> SharingPlan:
    """Read and check a plan. BundleError says what is wrong with it."""
    path = folder / PLAN_FILE
    try:
        values = json.loads(read_regular(path, MAX_FILE_BYTES))
    except FileNotFoundError:
        raise BundleError(f"{folder} is not a sharing plan: it has no {PLAN_FILE}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(f"{path} cannot be read ({error}); {MAKE_ANEW}") from error
    try:
        return _parse(values)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, ConfigError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise BundleError(f"{path}: {reason}; {MAKE_ANEW}") from error


def load_joints(folder: Path, plan: SharingPlan) -> dict[str, list[Joint]]:
    """Return the joints of every merge by the digest of its recipient.

    BundleError as `read_weights`, or if they do not fit the plan.
    """
    assert plan.joints is not None
    tensors = read_weights(folder / JOINTS_FILE, plan.joints)
    found: dict[str, list[Joint]] = {}
    for merge in plan.merges:
        joints = [Joint(spec) for spec in merge.spec.every_joint]
        for number_, joint in enumerate(joints):
            prefix = f"{merge.recipient}.{number_}."
            state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            try:
                joint.load_state_dict(state)
            except RuntimeError as error:
                reason = " ".join(str(error).split())
                raise BundleError(f"{folder / JOINTS_FILE} does not fit {PLAN_FILE} ({reason}); {MAKE_ANEW}") from error
        found[merge.recipient] = [joint.eval().requires_grad_(False) for joint in joints]
    return found


def _parse(values: Any) -> SharingPlan:
    version = values["format_version"]
    if version != FORMAT_VERSION:
        raise ValueError(f"format version {version}, this software reads {FORMAT_VERSION}")
    bundles, merges = _bounded(values["bundles"], MAX_MEMBERS), _bounded(values["merges"], MAX_MEMBERS)
    entry = values["joints"]
    plan = SharingPlan(
        tuple(PlannedBundle(text(one["name"]), text(one["digest"])) for one in bundles),
        tuple(_merge(one) for one in merges),
        FileEntry(text(entry["sha256"]), integer(entry["bytes"])),
    )
    if values["digest"] != plan.digest:
        raise ValueError("it was edited or damaged: its digest does not match")
    return plan


def _merge(values: Any) -> PlannedMerge:
    spec = values["spec"]
    entry = None if spec["entry"] is None else text(spec["entry"])
    entry_joint = None if spec["entry_joint"] is None else _joint(spec["entry_joint"])
    joints = tuple(_joint(one) for one in _bounded(spec["joints"], MAX_JOINTS))
    borrowed = tuple(text(one) for one in _bounded(spec.get("borrowed", []), MAX_JOINTS))
    merged = MergeSpec(text(spec["cut"]), joints, entry, entry_joint, borrowed)
    figures = {text(name): number(value) for name, value in values["figures"].items()}
    return PlannedMerge(text(values["donor"]), text(values["recipient"]), merged, figures)


def _joint(values: Any) -> JointSpec:
    sources = tuple(_source(one) for one in _bounded(values["sources"], MAX_JOINTS))
    sizes = (integer(values[name]) for name in ("channels", "stride", "kernel"))
    return JointSpec(sources, text(values["target"]), *sizes)


def _source(values: Any) -> Source:
    if not isinstance(values["is_own"], bool):
        raise TypeError(f"expected true or false, found {values['is_own']!r}")
    return Source(text(values["name"]), integer(values["channels"]), integer(values["stride"]), values["is_own"])


def _bounded(values: Any, most: int) -> list[Any]:
    if not isinstance(values, list) or len(values) > most:
        raise TypeError(f"expected a list of at most {most}")
    return values
