"""Merged detectors: what they compute, what they keep, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from splitnet.errors import ConfigError
from splitnet.nn.graph import needed_after, nodes_of, run_front, run_rest, run_to
from splitnet.nn.joint import COPY, Joint, JointSpec, Source, resampled
from splitnet.nn.merged import Merged, MergeSpec, SharedFront
from splitnet.nn.nanodet.network import NanoDet
from splitnet.nn.yolox.network import YOLOX

CHANNELS = {"dark3": (64, 8), "dark4": (128, 16), "dark5": (256, 32)}
IMAGE = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 255


def yolox(seed: int) -> YOLOX:
    torch.manual_seed(seed)
    return YOLOX("yolox-nano", 4).eval().requires_grad_(False)


def copies(cut: str, names: tuple[str, ...]) -> MergeSpec:
    joints = (JointSpec((Source(n, *CHANNELS[n]),), n, *CHANNELS[n], COPY) for n in names)
    return MergeSpec(cut, tuple(joints))


def merged_of(spec: MergeSpec, donor: YOLOX, recipient: YOLOX, holds_donor: bool = False) -> Merged:
    return Merged(spec, donor, recipient, [Joint(one) for one in spec.every_joint], holds_donor)


def test_a_copying_merge_is_the_donors_front_and_the_recipients_rest():
    donor, recipient, whole = yolox(0), yolox(1), yolox(1)
    merged = merged_of(copies("dark4", ("dark3", "dark4")), donor, recipient)
    expected = run_rest(nodes_of(whole), "dark4", run_front(nodes_of(donor), "dark4", IMAGE))
    assert torch.equal(merged(IMAGE), expected)


def test_a_detector_merged_with_itself_is_itself():
    merged = merged_of(copies("dark5", ("dark3", "dark4", "dark5")), yolox(0), yolox(0))
    assert torch.equal(merged(IMAGE), yolox(0)(IMAGE))


def test_a_recipient_keeps_its_tail_alone():
    donor, recipient = yolox(0), yolox(1)
    before = sum(x.numel() for x in recipient.parameters())
    merged = merged_of(copies("dark4", ("dark3", "dark4")), donor, recipient)
    front = sum(
        x.numel()
        for stage in ("stem", "dark2", "dark3", "dark4")
        for x in getattr(yolox(1).backbone.backbone, stage).parameters()
    )
    assert sum(x.numel() for x in merged.parameters()) == before - front
    assert sum(x.numel() for x in donor.parameters()) == before  # it stays whole


def test_a_donor_that_is_held_loses_what_is_not_needed():
    donor = yolox(0)
    alone = yolox(0)
    merged = merged_of(copies("dark4", ("dark3", "dark4")), donor, yolox(1), holds_donor=True)
    assert not list(donor.head.parameters()) and list(donor.backbone.backbone.stem.parameters())
    expected = merged_of(copies("dark4", ("dark3", "dark4")), alone, yolox(1))(IMAGE)
    assert torch.equal(merged(IMAGE), expected)


def test_a_shared_front_gives_what_both_give_alone():
    donor = yolox(0)
    merged = merged_of(copies("dark4", ("dark3", "dark4")), donor, yolox(1))
    alone, expected = donor(IMAGE), merged(IMAGE)
    first, second = SharedFront(donor, [merged])(IMAGE)
    assert torch.equal(first, alone) and torch.equal(second, expected)


def test_families_are_joined_by_maps_and_the_recipients_own_stem():
    torch.manual_seed(2)
    recipient = NanoDet("nanodet-plus-m", 4).eval()
    spec = JointSpec(
        (Source("dark3", 64, 8), Source("dark2", 32, 4), Source("stage1", 24, 4, True)), "stage2a", 116, 8, 3
    )
    joint = Joint(spec)
    merged = Merged(MergeSpec("stage2a", (joint.spec,)), yolox(0), recipient, [joint])
    assert merged(IMAGE).shape == NanoDet("nanodet-plus-m", 4).eval()(IMAGE).shape
    assert spec.columns == 64 + 4 * 32 + 4 * 24 and spec.parameters == sum(x.numel() for x in joint.parameters())


def test_a_segment_runs_the_donors_stage_on_the_recipients_features():
    donor, whole = yolox(0), yolox(1)
    entry = JointSpec((Source("dark3", 64, 8, True),), "dark3", 64, 8, COPY)
    joints = (
        JointSpec((Source("dark3", 64, 8, True),), "dark3", 64, 8, COPY),
        JointSpec((Source("dark4", 128, 16),), "dark4", 128, 16, COPY),
    )
    merged = Merged(
        MergeSpec("dark4", joints, "dark3", entry), donor, yolox(1), [Joint(one) for one in (*joints, entry)]
    )
    dark3 = run_front(nodes_of(whole), "dark3", IMAGE)["dark3"]
    expected = run_rest(nodes_of(whole), "dark4", {"dark3": dark3, "dark4": donor.backbone.backbone.dark4(dark3)})
    assert torch.equal(merged(IMAGE), expected)


def test_a_borrowed_node_is_the_donors_on_the_recipients_features():
    donor, recipient, whole = yolox(0), yolox(1), yolox(1)
    plain = copies("dark4", ("dark3", "dark4"))
    merged = merged_of(replace(plain, borrowed=("dark5",)), donor, recipient)
    joined = run_front(nodes_of(donor), "dark4", IMAGE)
    by_name = {node.name: node for node in nodes_of(whole)} | {"dark5": nodes_of(donor)[4]}
    expected = run_to([by_name[node.name] for node in nodes_of(whole)], joined, ["raw"])["raw"]
    assert nodes_of(donor)[4].name == "dark5" and torch.equal(merged(IMAGE), expected)
    less = sum(x.numel() for x in merged_of(plain, donor, yolox(1)).parameters())
    own = sum(x.numel() for x in yolox(1).backbone.backbone.dark5.parameters())
    assert sum(x.numel() for x in merged.parameters()) == less - own


@pytest.mark.parametrize("name", ["dark3", "p9"], ids=["before the cut", "unknown"])
def test_what_cannot_be_borrowed_is_refused(name):
    spec = replace(copies("dark4", ("dark3", "dark4")), borrowed=(name,))
    with pytest.raises(ConfigError, match=f"{name} cannot be borrowed: both detectors need such a node behind dark4"):
        merged_of(spec, yolox(0), yolox(1))


def test_joints_that_do_not_fit_are_refused_with_what_is_read():
    with pytest.raises(ConfigError, match="behind dark4 yolox-nano reads dark3, dark4, not dark3"):
        merged_of(copies("dark4", ("dark3",)), yolox(0), yolox(1))
    assert needed_after(nodes_of(yolox(0)), "dark4") == ("dark3", "dark4")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"kernel": 2}, "kernel is one of 0, 1, 3, 5"),
        ({"sources": ()}, "reads nothing"),
        ({"sources": (Source("a", 4, 1),)}, "cannot stand for"),
        ({"sources": (Source("a", 4, 12),)}, "cannot stand for"),
        ({"channels": 5000}, "at most 4096"),
        ({"kernel": COPY, "channels": 9}, "only one tensor of the same shape"),
    ],
)
def test_a_joint_that_cannot_be_is_refused(change, complaint):
    with pytest.raises(ConfigError, match=complaint):
        JointSpec(**{"sources": (Source("a", 4, 8),), "target": "t", "channels": 4, "stride": 8, "kernel": 1} | change)


def test_finer_features_keep_every_value_and_coarser_ones_are_interpolated():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert resampled(x, 4, 8)[0, :, 0, 0].tolist() == [0.0, 1.0, 4.0, 5.0]
    assert resampled(x, 16, 8).shape == (1, 1, 8, 8) and resampled(x, 8, 8) is x
