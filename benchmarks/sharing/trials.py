"""Which merges are tried: by group, with controls that should fail and baselines that a similarity has to beat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from splitnet.nn.architectures import architecture_of
from splitnet.nn.graph import needed_after
from splitnet.nn.joint import COPY, JointSpec, Source
from splitnet.nn.merged import MergeSpec
from training.sharing.members import Member
from training.sharing.merge import across, can_segment, heaviest_behind, joint_to, same_names, segment

ANCESTOR, FAMILY, ACROSS = "common ancestor", "same family", "across families"
WIDEST = 3000  # values that a map reads at a position
RELATED = 0.5  # distance of weights, relative to their norm, below which two detectors come from one


@dataclass(frozen=True)
class Trial:
    """One merge to be measured."""

    spec: MergeSpec
    kind: str  # "copy", "map", "map and node", "own stem", "segment", or a control: "random pair", "shuffled", "noise"

    @property
    def is_control(self) -> bool:
        """Whether it is there to fail."""
        return self.kind in ("random pair", "shuffled", "noise")


def weight_distance(a: Member, b: Member, names: Sequence[str] = ()) -> float | None:
    """Return how far the weights of two detectors are apart, relative to their norm; None if their shapes differ.

    names: of the nodes that count, all if there are none.
    """
    if dict(a.shapes) != dict(b.shapes):
        return None
    mine, theirs = a.tensors(names), b.tensors(names)
    if [x.shape for x in mine] != [x.shape for x in theirs]:
        return None
    apart = sum(float((x - y).square().sum()) for x, y in zip(mine, theirs, strict=True))
    norm = sum(float(x.square().sum()) for x in mine)
    return float((apart / norm) ** 0.5) if norm else 0.0


def group_of(donor: Member, recipient: Member) -> str:
    """Return how two detectors are related, by their weights and their families."""
    backbone = list(donor.shapes)[:3]
    distance = weight_distance(donor, recipient, backbone)
    if distance is not None and distance < RELATED:
        return ANCESTOR
    same = architecture_of(donor.detector.name) is architecture_of(recipient.detector.name)
    return FAMILY if same else ACROSS


def trials(donor: Member, recipient: Member, is_whole: bool) -> Iterator[Trial]:
    """Yield the merges of a pair. is_whole: every cut and kind; else the copies or the smallest maps alone."""
    group = group_of(donor, recipient)
    cuts = [node.name for node in recipient.nodes[:-1]]
    if group == ACROSS:
        yield from (one for one in _across(donor, recipient, cuts, is_whole) if _is_narrow(one.spec))
        return
    for i, cut in enumerate(cuts):
        if not is_whole and i % 2:
            continue
        if group == ANCESTOR:
            yield Trial(same_names(donor, recipient, cut, COPY), "copy")
        if is_whole or group == FAMILY or i % 4 == 2:
            yield Trial(same_names(donor, recipient, cut, 1), "map")
        if is_whole and i > 1 and (heavy := heaviest_behind(recipient, cut)):
            yield Trial(same_names(donor, recipient, cut, 1, heavy), "map and node")
    if group == ANCESTOR and is_whole:
        for start, cut in pairwise(cuts):
            if start != cuts[0] and can_segment(donor, recipient, start, cut):
                yield Trial(segment(donor, recipient, start, cut, COPY), "segment")


def _is_narrow(spec: MergeSpec) -> bool:
    """Return whether a merge's maps are of a size that is fitted in minutes."""
    return all(joint.columns * max(1, joint.kernel) ** 2 <= WIDEST for joint in spec.joints)


def _across(donor: Member, recipient: Member, cuts: Sequence[str], is_whole: bool) -> Iterator[Trial]:
    stem = cuts[0]
    for cut in cuts[:4]:
        deepest = _deepest_at(donor, recipient.shapes[cut].stride)
        yield Trial(across(donor, recipient, cut, 1, 1, deepest), "map")
        if not is_whole:
            continue
        yield Trial(across(donor, recipient, cut, 3, 2 if recipient.shapes[cut].stride <= 8 else 1, deepest), "map")
        if cut != stem and recipient.shapes[cut].stride <= 8:
            yield Trial(across(donor, recipient, cut, 3, 2, deepest, (stem,)), "own stem")


def _deepest_at(donor: Member, stride: int) -> str:
    """Return the donor's last stage of a stride, before its neck."""
    names = [name for name, shape in donor.shapes.items() if shape.stride <= stride]
    stages = list(donor.shapes)
    last = next(
        (i for i in range(1, len(stages)) if donor.shapes[stages[i]].stride < donor.shapes[stages[i - 1]].stride),
        len(stages),
    )
    down = [name for name in stages[:last] if name in names]
    return down[-1] if down else stages[0]


def random_pairs(donor: Member, recipient: Member, count: int, seed: int = 0) -> Iterator[Trial]:
    """Yield merges whose tensors come from any of the donor's that can be brought to their stride, drawn by a seed."""
    draw = torch.Generator().manual_seed(seed)
    cuts = [node.name for node in recipient.nodes[1:-1]]
    for _ in range(count):
        cut = cuts[int(torch.randint(len(cuts), (1,), generator=draw))]
        joints = []
        for name in needed_after(recipient.nodes, cut):
            stride = recipient.shapes[name].stride
            fits = [one for one, shape in donor.shapes.items() if stride <= 2 * shape.stride and one != name]
            chosen = fits[int(torch.randint(len(fits), (1,), generator=draw))]
            joints.append(joint_to(name, recipient, [(donor, chosen, False)], 1))
        yield Trial(MergeSpec(cut, tuple(joints)), "random pair")


def read_shuffled(spec: JointSpec) -> JointSpec:
    """Return a copying joint as a 1x1 map, for its channels to be shuffled."""
    (source,) = spec.sources
    return JointSpec((Source(source.name, source.channels, source.stride),), spec.target, spec.channels, spec.stride, 1)
