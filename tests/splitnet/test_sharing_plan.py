"""A sharing plan on disk: it comes back as it was, and what is damaged is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from splitnet.errors import BundleError, DigestMismatchError
from splitnet.sharing_plan import JOINTS_FILE, PLAN_FILE, load_joints, load_plan, save_plan
from tests.support.planned_pair import Pair, write_pair


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return write_pair(tmp_path, cut="dark2")


def rewritten(pair: Pair, change) -> None:
    values = json.loads((pair.plan / PLAN_FILE).read_text())
    change(values)
    (pair.plan / PLAN_FILE).write_text(json.dumps(values))


def test_a_plan_comes_back_as_it_was_written(pair):
    plan = load_plan(pair.plan)
    assert [one.name for one in plan.bundles] == ["tiny-0", "tiny-1"]
    (merge,) = plan.merges
    assert (merge.donor, merge.recipient) == (pair.donor_manifest.digest, pair.recipient_manifest.digest)
    assert merge.spec.cut == "dark2" and merge.spec.joints[0].kernel == 1
    assert plan.digest == json.loads((pair.plan / PLAN_FILE).read_text())["digest"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda v: v.update(format_version=9), "format version 9, this software reads 1"),
        (lambda v: v["merges"][0]["spec"].update(cut="dark3"), "edited or damaged"),
        (lambda v: v["merges"][0]["spec"]["joints"][0].update(channels=2**40), "at most 4096"),
        (lambda v: v["merges"][0]["spec"]["joints"][0].update(kernel=-1), "kernel is one of"),
        (lambda v: v["merges"][0].pop("donor"), "'donor' is missing"),
        (lambda v: v["merges"].extend(v["merges"] * 100), "at most 64"),
        (lambda v: v["merges"].append(v["merges"][0]), "named twice"),
        (lambda v: v["bundles"].pop(), "not listed"),
        (lambda v: v["merges"][0].update(donor=v["merges"][0]["recipient"]), "a donor is a recipient as well"),
        (lambda v: v.update(merges=None), "expected a list"),
        (lambda v: v["bundles"][0].update(name="a\x1b[2J"), "printable"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_with_what_to_do(pair, change, complaint):
    rewritten(pair, change)
    with pytest.raises(BundleError, match=f"{complaint}.*make the plan anew"):
        load_plan(pair.plan)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000, b"null"])
def test_a_file_that_is_no_plan_is_refused(pair, content):
    (pair.plan / PLAN_FILE).write_bytes(content)
    with pytest.raises(BundleError, match="make the plan anew"):
        load_plan(pair.plan)


def test_a_folder_without_a_plan_is_refused(tmp_path):
    with pytest.raises(BundleError, match=r"is not a sharing plan: it has no plan\.json"):
        load_plan(tmp_path)


def test_other_maps_than_the_plans_are_refused(pair):
    data = bytearray((pair.plan / JOINTS_FILE).read_bytes())
    data[-1] ^= 1
    (pair.plan / JOINTS_FILE).write_bytes(data)
    with pytest.raises(DigestMismatchError):
        load_joints(pair.plan, load_plan(pair.plan))


def test_borrowed_nodes_come_back_and_plans_without_any_keep_their_digest(pair):
    plan = load_plan(pair.plan)
    (merge,) = plan.merges
    spec = asdict(merge.spec)
    del spec["borrowed"]  # as plans were written before
    essence = [[merge.donor, merge.recipient, spec]]
    joints = None if plan.joints is None else plan.joints.sha256
    before = {"format_version": 1, "merges": essence, "joints": joints}
    assert plan.digest == hashlib.sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()
    borrowing = replace(merge, spec=replace(merge.spec, borrowed=("dark5",)))
    folder = pair.plan.with_name("borrowing")
    written = save_plan(folder, replace(plan, merges=(borrowing,)), load_joints(pair.plan, plan))
    assert load_plan(folder) == written != plan and written.merges[0].spec.borrowed == ("dark5",)
