"""Joints fitted on unlabelled images, in one pass for all merges of a pair of detectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from splitnet.errors import ConfigError
from splitnet.nn.detector import IMAGE, RAW
from splitnet.nn.graph import run_to
from splitnet.nn.joint import COPY, Joint, JointSpec, gathered, own_key
from splitnet.nn.merged import MergeSpec
from training.detectors.family import family_of
from training.sharing.members import Member, squares
from training.sharing.moments import FOLDS, Moments, drawn_positions, rows_of
from training.sharing.ridge import LinearMap, columns_of, explained, fit
from training.sharing.similarity import Alignment

POSITIONS = 500  # of an image that are looked at: neighbours say nearly the same
MIN_IMAGES = 4
ATTENTION_STRIDE = 16
# Of all that one pass reads for one tensor: its moments take 8 * MAX_COLUMNS^2 bytes for each fold, and once more.
MAX_COLUMNS = 4000

Features = Mapping[str, Tensor]


@dataclass(frozen=True)
class FittedJoint:
    """A joint with its weights, and how alike what it reads and what it gives are."""

    spec: JointSpec
    map: LinearMap | None  # None: a copy
    alignment: Alignment
    r2: float

    def module(self) -> Joint:
        """Return it as it runs."""
        return Joint(self.spec) if self.map is None else self.map.joint(self.spec)


@dataclass(eq=False)
class _Gathering:
    """What is gathered for one target: the moments of everything that any joint to it reads."""

    target: str
    widest: JointSpec
    folds: list[Moments] = field(init=False)
    alignments: dict[tuple[str, ...], Alignment] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = self.widest.columns * max(1, self.widest.kernel) ** 2
        if columns > MAX_COLUMNS:
            raise ConfigError(
                f"{columns} values at a position are read for {self.target}, at most {MAX_COLUMNS} can be"
            )
        self.folds = [Moments(columns, self.widest.channels) for _ in range(FOLDS)]

    def add(self, number: int, features: Features, y: Tensor, specs: Sequence[JointSpec], seen: Tensor) -> None:
        positions = drawn_positions(seen, y.shape[2], y.shape[3], POSITIONS, seed=number)
        rows = rows_of(y, 1, positions)
        whole = gathered(self.widest, features)
        self.folds[number % FOLDS].add(rows_of(whole, max(1, self.widest.kernel), positions), rows)
        for spec in specs:
            key = tuple(source.key for source in spec.sources)
            if key not in self.alignments:
                self.alignments[key] = Alignment(spec.columns, spec.channels)
            if self.alignments[key].seen <= number:
                self.alignments[key].add(rows_of(gathered(spec, features), 1, positions), rows, number + 1)

    def fitted(self, spec: JointSpec) -> FittedJoint:
        alignment = self.alignments[tuple(source.key for source in spec.sources)]
        columns = columns_of(self.widest, spec.sources, max(1, spec.kernel))
        folds = [one.of(columns) for one in self.folds]
        if spec.kernel == COPY:
            total = folds[0] + folds[1] + folds[2]
            r2 = explained(total, np.eye(spec.channels), np.zeros(spec.channels))
            return FittedJoint(spec, None, alignment, r2)
        found = fit(folds)
        return FittedJoint(spec, found, alignment, found.r2)


def fit_joints(
    donor: Member, recipient: Member, specs: Sequence[MergeSpec], images: Sequence[Path], task: str
) -> list[list[FittedJoint]]:
    """Return the joints of each merge of a pair, in the order of `MergeSpec.every_joint`.

    Segments are fitted at their entry first, and behind it on what then runs through the donor. ConfigError if fewer
    than MIN_IMAGES images can be read.
    """
    entries = {spec.entry_joint: spec.entry for spec in specs if spec.entry_joint is not None}
    known = _pass(donor, recipient, list(entries), None, images, task, at_donor=True) if entries else {}
    by_entry: dict[JointSpec | None, list[JointSpec]] = {}
    for spec in specs:
        by_entry.setdefault(spec.entry_joint, []).extend(spec.joints)
    fitted: dict[tuple[JointSpec | None, JointSpec], FittedJoint] = {}
    for entry, joints in by_entry.items():
        through = None if entry is None else (entries[entry] or "", known[entry].module())
        found = _pass(donor, recipient, list(dict.fromkeys(joints)), through, images, task)
        fitted |= {(entry, one): joint for one, joint in found.items()}
    result = []
    for spec in specs:
        own = [fitted[spec.entry_joint, joint] for joint in spec.joints]
        result.append(own if spec.entry_joint is None else [*own, known[spec.entry_joint]])
    return result


@torch.inference_mode()
def _pass(
    donor: Member,
    recipient: Member,
    wanted: Sequence[JointSpec],
    through: tuple[str, Joint] | None,
    images: Sequence[Path],
    task: str,
    at_donor: bool = False,
) -> dict[JointSpec, FittedJoint]:
    """Fit joints in one pass over the images.

    through: the donor's tensor that the recipient's features are joined to, and how. at_donor: the joints' targets are
    the donor's tensors.
    """
    groups: dict[tuple[str, int], list[JointSpec]] = {}
    for spec in wanted:
        groups.setdefault((spec.target, max(1, spec.kernel)), []).append(spec)
    gatherings = {key: _Gathering(key[0], _widest(specs)) for key, specs in groups.items()}
    targets = list(dict.fromkeys(target for target, _ in groups))
    sources = {source for spec in wanted for source in spec.sources}
    if through is not None:
        sources |= set(through[1].spec.sources)
    own_names = [one.name for one in sources if one.is_own] + ([] if at_donor else targets)
    donor_names = [one.name for one in sources if not one.is_own] + (targets if at_donor else [])
    count, size = 0, recipient.manifest.input_size
    attention = family_of(recipient.detector.name).reading.attention
    for image in squares(images, size, recipient.fills, task):
        own = run_to(recipient.nodes, {IMAGE: image}, [*own_names, RAW])
        seen = attention(own.pop(RAW), size // ATTENTION_STRIDE)
        features = {own_key(name): x for name, x in own.items()}
        given = {IMAGE: image} if through is None else {through[0]: through[1](features)}
        features |= run_to(donor.nodes, given, donor_names)
        for key, specs in groups.items():
            y = features[key[0] if at_donor else own_key(key[0])]
            gatherings[key].add(count, features, y, specs, seen)
        count += 1
    if count < MIN_IMAGES:
        raise ConfigError(
            f"only {count} images can be read, a map needs {MIN_IMAGES} at least, and some hundred to be good"
        )
    return {spec: gatherings[key].fitted(spec) for key, specs in groups.items() for spec in specs}


def _widest(specs: Sequence[JointSpec]) -> JointSpec:
    """Return the joint that reads all that some joints to one target read."""
    first = specs[0]
    sources = {source.key: source for spec in specs for source in spec.sources}
    kernel = max(max(1, spec.kernel) for spec in specs)
    return JointSpec(tuple(sources.values()), first.target, first.channels, first.stride, kernel)
