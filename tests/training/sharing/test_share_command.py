"""The command on two small bundles: it finds a plan, writes it, and says what is wrong with what it is given."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from splitnet.manifest import load_manifest
from splitnet.nn.detector import IMAGE
from splitnet.nn.graph import run_to
from splitnet.sharing_plan import load_joints, load_plan
from tests.support.tiny_bundle import write_tiny_bundle
from training import share as module
from training.__main__ import main
from training.sharing.members import Member
from training.sharing.merge import Merge, heaviest_behind, same_names


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("bundles")
    for seed in (0, 1):
        write_tiny_bundle(folder / str(seed), seed)
    return [folder / "0", folder / "1"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for index in range(12):
        picture = cv2.resize(draw.integers(0, 255, (6, 8, 3), np.uint8), (80, 60), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{index}.png"), picture)
    return folder


@pytest.fixture(autouse=True)
def _few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at three merges instead of all."""

    def few(members):
        a, b = members[:2]
        for cut, kernel in (("dark2", 1), ("dark4", 0), ("dark4", 1)):
            yield Merge(a.name, b.name, same_names(a, b, cut, kernel))

    monkeypatch.setattr(module, "candidates", few)


def run(*arguments: object) -> int:
    return main(["share", *map(str, arguments)])


def test_a_plan_is_found_written_and_readable_by_the_server(bundles, images, tmp_path, capsys):
    assert run("--bundles", *bundles, "--images", images, "--out", tmp_path / "plan", "--fit-limit", 9) == 0
    said = capsys.readouterr().out
    assert "MB of weights become" in said and "cloud-server serve --plan" in said
    plan = load_plan(tmp_path / "plan")
    (merge,) = plan.merges
    joints = load_joints(tmp_path / "plan", plan)[merge.recipient]
    assert [joint.spec for joint in joints] == list(merge.spec.every_joint)
    study = json.loads((tmp_path / "plan" / "study.json").read_text())
    assert len(study["merges"]) == 3 and sum(row["chosen"] for row in study["merges"]) == 1
    assert {path.name for path in (tmp_path / "plan").glob("*.png")} == {
        f"{name}-{theme}.png" for name in ("plan", "similarity") for theme in ("light", "dark")
    }


def test_a_budget_that_nothing_meets_gives_the_smallest_plan_and_what_it_costs(bundles, images, tmp_path, capsys):
    given = ("--bundles", *bundles, "--images", images, "--out", tmp_path / "plan", "--budget-mb", 0.001)
    assert run(*given) == 0
    assert "nothing fits into 0.001 MB: this is the smallest plan there is" in capsys.readouterr().out
    assert load_plan(tmp_path / "plan").merges[0].spec.cut == "dark4"


def test_json_goes_to_scripts(bundles, images, tmp_path, capsys):
    assert run("--bundles", *bundles, "--images", images, "--out", tmp_path / "plan", "--json") == 0
    assert set(json.loads(capsys.readouterr().out)) >= {"bundles", "merges", "front", "bytes", "predicted_loss"}


def test_bundles_of_other_input_sizes_are_refused_with_both(bundles, images, tmp_path, capsys, monkeypatch):
    from dataclasses import replace

    other = tmp_path / "other"
    shutil.copytree(bundles[1], other)
    manifest = load_manifest(other)
    replace(manifest, input_size=96).write(other)
    assert run("--bundles", bundles[0], other, "--images", images, "--out", tmp_path / "plan") == 2
    assert "see the same square, these differ (tiny-0 64, tiny-1 96)" in capsys.readouterr().err


@pytest.mark.parametrize("count", [0, 3])
def test_too_few_images_are_refused(bundles, images, tmp_path, capsys, count):
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(images.iterdir())[:count]:
        shutil.copy(path, few)
    assert run("--bundles", *bundles, "--images", few, "--out", tmp_path / "plan") == 2
    assert ("8 are the least" if count else "no images in") in capsys.readouterr().err


def test_images_that_are_all_alike_are_held_by_the_ridge_and_that_is_said(bundles, tmp_path, capsys):
    grey = tmp_path / "grey"
    grey.mkdir()
    for index in range(9):
        cv2.imwrite(str(grey / f"{index}.png"), np.full((60, 80, 3), 90, np.uint8))
    assert run("--bundles", *bundles, "--images", grey, "--out", tmp_path / "plan") == 0
    plan = load_plan(tmp_path / "plan")
    assert all(
        bool(p.isfinite().all())
        for j in load_joints(tmp_path / "plan", plan).values()
        for m in j
        for p in m.parameters()
    )


def test_each_bundle_may_have_images_of_its_own_camera(bundles, images, tmp_path, monkeypatch, capsys):
    other = tmp_path / "other"
    shutil.copytree(images, other)
    seen = {}
    whole = module.study_pairs

    def noting(members, merges, given):
        seen.update({name: one.fit_on[0].parent for name, one in given.items()})
        return whole(members, merges, given)

    monkeypatch.setattr(module, "study_pairs", noting)
    assert run("--bundles", *bundles, "--images", images, other, "--out", tmp_path / "plan") == 0
    assert seen == {"tiny-0": images, "tiny-1": other}
    assert run("--bundles", *bundles, "--images", images, other, other, "--out", tmp_path / "plan") == 2
    assert "--images takes one folder, or 2: one for each bundle" in capsys.readouterr().err


def test_the_heaviest_node_behind_a_cut_is_worth_borrowing_where_it_has_a_tenth_of_the_weights(bundles):
    member = Member.load(bundles[0])
    assert heaviest_behind(member, "dark4") == ("dark5",) and heaviest_behind(member, "p4") == ("p5",)
    assert heaviest_behind(member, "p5") == ()


def test_the_same_bundle_twice_is_refused(bundles, images, tmp_path, capsys):
    assert run("--bundles", bundles[0], bundles[0], "--images", images, "--out", tmp_path / "plan") == 2
    assert "identical tensors are held once without a plan" in capsys.readouterr().err


def test_every_weight_of_a_detector_belongs_to_a_node(bundles):
    member = Member.load(bundles[0])
    assert sum(member.parameters.values()) == member.total_parameters
    assert list(member.shapes) == [node.name for node in member.nodes[:-1]]
    features = run_to(member.nodes, {IMAGE: torch.zeros(1, 3, 64, 64)}, ["p4"])
    assert features["p4"].shape[1] == member.shapes["p4"].channels
