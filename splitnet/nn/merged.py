"""Detectors that share a front: a donor's features, through joints, in the place of a recipient's own first nodes.

A recipient keeps its tail alone, and its own first stages where a joint reads them. The donor stays whole, and is the
same module for all. Two tasks that look at one image compute the donor's nodes once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.nn.architectures import architecture_of
from splitnet.nn.detector import IMAGE, RAW, Detector, Node
from splitnet.nn.graph import needed_after, nodes_of, run_rest, run_to
from splitnet.nn.joint import Joint, JointSpec, own_key


@dataclass(frozen=True)
class MergeSpec:
    """How a recipient's nodes up to a cut are replaced.

    entry: for a middle segment, the donor's tensor that the recipient's own stands in for (`entry_joint`); the donor's
    next nodes then run on that. None: the donor's features are those of the image, and are computed once for both.
    borrowed: nodes behind the cut that are the donor's of the same name, as they are, on the recipient's own features:
    they save memory and no computation.
    """

    cut: str  # of the recipient: a node
    joints: tuple[JointSpec, ...]  # one for each tensor that is needed behind the cut
    entry: str | None = None
    entry_joint: JointSpec | None = None  # from own tensors to the donor's
    borrowed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ConfigError on a segment that says half of what it must."""
        if (self.entry is None) != (self.entry_joint is None):
            raise ConfigError("a segment needs both where it begins and the joint to there")

    @property
    def donor_tensors(self) -> tuple[str, ...]:
        """The donor's tensors that the joints read."""
        return _names(self.joints, is_own=False)

    @property
    def own_tensors(self) -> tuple[str, ...]:
        """The recipient's own tensors that the joints read: its first nodes up to them stay."""
        entry = () if self.entry_joint is None else (self.entry_joint,)
        return _names((*self.joints, *entry), is_own=True)

    @property
    def every_joint(self) -> tuple[JointSpec, ...]:
        """The joints, that of the entry last."""
        return self.joints if self.entry_joint is None else (*self.joints, self.entry_joint)

    @property
    def is_prefix(self) -> bool:
        """Whether the donor's features are those of the image, so that both tasks can use the same."""
        return self.entry is None

    @property
    def parameters(self) -> int:
        """Number of weights of the joints."""
        return sum(joint.parameters for joint in self.every_joint)


def _with_borrowed(own: Sequence[Node], donor: Sequence[Node], spec: MergeSpec) -> tuple[Node, ...]:
    """Return a recipient's nodes with those that it borrows in their place; ConfigError if there are none such."""
    by_name, names = {node.name: node for node in donor}, [node.name for node in own]
    for name in spec.borrowed:
        is_behind = name in names and spec.cut in names and names.index(name) > names.index(spec.cut)
        if not is_behind or name not in by_name or by_name[name].inputs != own[names.index(name)].inputs:
            raise ConfigError(f"{name} cannot be borrowed: both detectors need such a node behind {spec.cut}")
    return tuple(by_name[node.name] if node.name in spec.borrowed else node for node in own)


def _names(joints: Iterable[JointSpec], is_own: bool) -> tuple[str, ...]:
    every = (one.name for joint in joints for one in joint.sources if one.is_own is is_own)
    return tuple(dict.fromkeys(every))


class Merged(Detector):
    """A recipient: joints and tail. What it needs of the donor is given, or computed by the donor that it knows."""

    def __init__(
        self,
        spec: MergeSpec,
        donor: Detector,
        recipient: Detector,
        joints: Sequence[Joint],
        holds_donor: bool = False,
    ) -> None:
        """Take the whole donor, the whole recipient, and the joints in the order of `MergeSpec.every_joint`.

        The recipient loses what is no longer needed of it. holds_donor: the donor is this one's own, and loses what
        this does not need of it; else it is somebody else's, and stays whole. ConfigError if these do not fit together.
        """
        super().__init__()
        self.spec, self.name = spec, recipient.name
        if holds_donor:
            self.donor = donor
        # They do not make its modules this one's: what is not held is not counted, moved or saved here as well.
        self._donor_nodes: tuple[Node, ...] = nodes_of(donor)
        self._nodes: tuple[Node, ...] = _with_borrowed(nodes_of(recipient), self._donor_nodes, spec)
        needed = needed_after(self._nodes, spec.cut)
        targets = tuple(joint.target for joint in spec.joints)
        if targets != needed:
            raise ConfigError(f"behind {spec.cut} {self.name} reads {', '.join(needed)}, not {', '.join(targets)}")
        self.joints = nn.ModuleList(joints)
        self.tail = recipient
        _drop_unused(self, [recipient, donor] if holds_donor else [recipient])

    def trace(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the raw predictions, of an image, or of the donor's features with the image if that is read."""
        return {RAW: self.behind(self.joined(features))}

    def behind(self, joined: Mapping[str, Tensor]) -> Tensor:
        """Map what `joined` gives to raw predictions."""
        return run_rest(self._nodes, self.spec.cut, joined)

    def behind_by_name(self, joined: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map what `joined` gives to what the head reads, by name, and "raw"."""
        return run_to(self._nodes, joined, [*self._nodes[-1].inputs, RAW])

    def joined(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what the tail reads, of an image or of the donor's features."""
        spec, own = self.spec, self.spec.own_tensors
        available = dict(features)
        if own:
            found = run_to(self._nodes, {IMAGE: features[IMAGE]}, own)
            available |= {own_key(name): tensor for name, tensor in found.items()}
        given = dict(features)
        if spec.entry is not None:
            given = {spec.entry: cast(Tensor, self.joints[-1](available))}
        available |= run_to(self._donor_nodes, given, spec.donor_tensors)
        return {one.target: module(available) for one, module in zip(spec.joints, self.joints, strict=False)}

    def next_stage(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what the tail reads."""
        return self.joined(features)

    def fuse(self) -> Detector:
        """Return itself: it is made of fused parts."""
        return self

    def keep_from(self, split_point: str) -> None:
        """Raise ConfigError: it has no first stages to drop."""
        raise ConfigError("a merged detector is cut already")


class SharedFront(nn.Module):
    """A donor and its recipients on one image: the donor's nodes are computed once for all of them."""

    def __init__(self, donor: Detector, recipients: Sequence[Merged]) -> None:
        super().__init__()
        self.donor = donor
        self.recipients = nn.ModuleList(recipients)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map images (N, 3, S, S) to raw predictions, the donor's first."""
        return self.behind({IMAGE: image}, self.donor)

    def behind(self, features: Mapping[str, Tensor], donor: Detector) -> tuple[Tensor, ...]:
        """Map an image or the donor's features at a split point to raw predictions, the donor's first.

        donor: the whole one, or what goes on behind that split point.
        """
        known = {**features, **donor.trace(features)}
        return known[RAW], *(cast(Merged, one).from_features(known) for one in self.recipients)


@torch.inference_mode()
def _drop_unused(merged: Merged, detectors: Sequence[Detector]) -> None:
    """Take those layers from detectors that an image does not come to; ConfigError if it does not get through."""
    used: set[nn.Module] = set()

    def note(layer: nn.Module, *_: object) -> None:
        used.add(layer)

    leaves = [layer for one in detectors for layer in one.modules() if not list(layer.children())]
    hooks = [layer.register_forward_hook(note) for layer in leaves]
    side = 2 * max(architecture_of(one.name).coarsest for one in detectors)
    try:
        merged(torch.zeros(1, 3, side, side))
    except (RuntimeError, KeyError) as error:
        raise ConfigError(f"the joints do not fit {merged.name}: {error}") from error
    finally:
        for hook in hooks:
            hook.remove()
    for detector in detectors:
        for name, layer in list(detector.named_modules()):
            if layer not in used and not list(layer.children()) and next(layer.parameters(), None) is not None:
                parent, _, own = name.rpartition(".")
                setattr(detector.get_submodule(parent), own, nn.Identity())
