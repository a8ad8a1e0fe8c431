"""A merge: what of one detector stands in for what of another, by which joints. Candidates for it are listed here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from splitnet.nn.graph import needed_after
from splitnet.nn.joint import COPY, MAX_UNSHUFFLE, JointSpec, Source
from splitnet.nn.merged import MergeSpec
from training.sharing.members import Member, Shape

HEAVY = 0.1  # share of a detector's weights, from which on a node is worth borrowing


@dataclass(frozen=True)
class Merge:
    """A recipient whose nodes up to a cut are replaced by a donor's."""

    donor: str  # names of bundles
    recipient: str
    spec: MergeSpec

    @property
    def label(self) -> str:
        """What it is in one line."""
        kernels = "/".join("copy" if one.kernel == COPY else f"{one.kernel}x{one.kernel}" for one in self.spec.joints)
        read = " + ".join(dict.fromkeys(source.key for joint in self.spec.joints for source in joint.sources))
        entry = "" if self.spec.entry is None else f" from {self.spec.entry} on"
        besides = "".join(f", and {name}" for name in self.spec.borrowed)
        return f"{self.donor} for {self.recipient} up to {self.spec.cut}: {read}{entry} by {kernels}{besides}"


def joint_to(target: str, recipient: Member, sources: Sequence[tuple[Member, str, bool]], kernel: int) -> JointSpec:
    """Return a joint; sources: whose tensor, its name, and whether it is the recipient's own."""
    shape = recipient.shapes[target]
    read = tuple(Source(name, m.shapes[name].channels, m.shapes[name].stride, own) for m, name, own in sources)
    return JointSpec(read, target, shape.channels, shape.stride, kernel)


def same_names(donor: Member, recipient: Member, cut: str, kernel: int, borrowed: Sequence[str] = ()) -> MergeSpec:
    """Return the merge of two members of a family in which each tensor comes from the donor's of the same name."""
    needed = needed_after(recipient.nodes, cut)
    joints = tuple(joint_to(name, recipient, [(donor, name, False)], kernel) for name in needed)
    return MergeSpec(cut, joints, borrowed=tuple(borrowed))


def heaviest_behind(recipient: Member, cut: str) -> tuple[str, ...]:
    """Return the node behind a cut with the most weights, if it has a tenth of all; the last one has the classes."""
    names = [node.name for node in recipient.nodes[:-1]]
    behind = names[names.index(cut) + 1 :]
    heaviest = max(behind, key=lambda name: recipient.parameters[name], default=None)
    is_heavy = heaviest is not None and recipient.parameters[heaviest] >= HEAVY * recipient.total_parameters
    return (heaviest,) if heaviest is not None and is_heavy else ()


def nearest_sources(donor: Member, shape: Shape, count: int, deepest: str) -> list[str]:
    """Return which of a donor's tensors stand for one of a shape: of its stride, then finer, then coarser ones.

    deepest: none behind it is read, so that no more of the donor is computed than it takes.
    """
    names = list(donor.shapes)[: list(donor.shapes).index(deepest) + 1]
    fits = [name for name in names if _fits(donor.shapes[name].stride, shape.stride)]
    octaves = {name: donor.shapes[name].stride.bit_length() - shape.stride.bit_length() for name in fits}
    order = sorted(fits, key=lambda name: (abs(octaves[name]), octaves[name] > 0, -names.index(name)))
    return order[:count]


def _fits(stride: int, wanted: int) -> bool:
    return wanted <= MAX_UNSHUFFLE // 2 * stride


def across(
    donor: Member, recipient: Member, cut: str, kernel: int, count: int, deepest: str, own: Sequence[str] = ()
) -> MergeSpec:
    """Return the merge in which each tensor comes from several of the donor's, of near strides, and of its own."""
    joints = []
    for name in needed_after(recipient.nodes, cut):
        read = nearest_sources(donor, recipient.shapes[name], count, deepest)
        sources = [(donor, one, False) for one in read] + [(recipient, one, True) for one in own]
        joints.append(joint_to(name, recipient, sources, kernel))
    return MergeSpec(cut, tuple(joints))


def segment(donor: Member, recipient: Member, start: str, cut: str, kernel: int) -> MergeSpec:
    """Return the merge in which the donor's nodes between two tensors run on the recipient's; of members of a family.

    Both ends have a joint of the kernel. The recipient's first nodes stay.
    """
    entry = joint_to(start, donor, [(recipient, start, True)], kernel)
    names = [node.name for node in recipient.nodes]
    joints = []
    for name in needed_after(recipient.nodes, cut):
        is_before = names.index(name) <= names.index(start)
        own = (recipient, name, True) if is_before else (donor, name, False)
        joints.append(joint_to(name, recipient, [own], COPY if is_before else kernel))
    return MergeSpec(cut, tuple(joints), start, entry)


def can_segment(donor: Member, recipient: Member, start: str, cut: str) -> bool:
    """Return whether what a segment gives follows from where it begins: the neck reads earlier stages as well."""
    known = [node.name for node in recipient.nodes]
    known = known[: known.index(start) + 1]
    follows = {start}
    for node in donor.nodes:
        if node.name not in follows and set(node.inputs) <= follows:
            follows.add(node.name)
    return all(name in known or name in follows for name in needed_after(recipient.nodes, cut))


def candidates(members: Sequence[Member]) -> Iterator[Merge]:
    """Yield what `share` looks at: every pair, every cut at which something can be saved."""
    for donor in members:
        for recipient in members:
            if donor is not recipient:
                yield from (Merge(donor.name, recipient.name, spec) for spec in _specs(donor, recipient))


def _specs(donor: Member, recipient: Member) -> Iterator[MergeSpec]:
    cuts = [node.name for node in recipient.nodes[:-1]]
    alike = _alike(donor.shapes, recipient.shapes)
    for i, cut in enumerate(cuts):
        if alike:
            yield same_names(donor, recipient, cut, COPY)
            yield same_names(donor, recipient, cut, 1)
            if heavy := heaviest_behind(recipient, cut):
                yield same_names(donor, recipient, cut, 1, heavy)
            if i >= 2 and can_segment(donor, recipient, cuts[i - 1], cut):
                yield segment(donor, recipient, cuts[i - 1], cut, COPY)
        else:
            deepest = _deepest(donor, recipient.shapes[cut].stride)
            for kernel, count in ((1, 1), (1, 2), (3, 1), (3, 2)):
                yield across(donor, recipient, cut, kernel, count, deepest)


def _alike(a: Mapping[str, Shape], b: Mapping[str, Shape]) -> bool:
    return dict(a) == dict(b)


def _deepest(donor: Member, stride: int) -> str:
    """Return the last of a donor's stages on its way down that is as fine as a stride, or the first of all."""
    best = next(iter(donor.shapes))
    for name, shape in donor.shapes.items():
        if shape.stride < donor.shapes[best].stride:
            break
        best = name if shape.stride <= stride else best
    return best
