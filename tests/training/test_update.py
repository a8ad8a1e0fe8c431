"""The command that trains an update between two bundles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from splitnet.bundle import load_device, load_server
from splitnet.manifest import ENCODER_FILE, load_manifest
from splitnet.updates.update_file import apply_update_file, halves_of, read_update
from tests.support.tiny_student import write_random_images
from tests.support.updated_bundle import half, write_front
from training.__main__ import main
from training.updates.device_half import arrays_of, with_weights

DETECTOR = "detector.safetensors"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with two bundles of the same shape, and images."""
    folder = tmp_path_factory.mktemp("update")
    write_front(folder / "old", seed=0)
    write_front(folder / "new", seed=0, step=0.002)
    (folder / "images").mkdir()
    write_random_images(folder / "images", 2, 64, 64)
    return folder


def update(place: Path, name: str, *more: str) -> int:
    options = ["--bundle", str(place / "old"), "--to", str(place / "new"), "--images", str(place / "images")]
    out = ["--result", str(place / name), "--out", str(place / f"{name}.ssu")]
    return main(["update", *options, *out, "--steps", "3", "--threads", "1", *more])


def test_an_update_makes_the_bundle_that_is_written_beside_it(place, tmp_path, capsys):
    assert update(place, "made", "--budget-kb", "30", "--local-budget-kb", "900") == 0
    assert "cloud-server bundle sign" in capsys.readouterr().out
    data = (place / "made.ssu").read_bytes()
    base = half(place / "old", tmp_path / "base")
    out = tmp_path / "out"
    out.mkdir()
    made = apply_update_file(data, base, out)
    assert load_device(out).manifest.digest == load_manifest(place / "made").digest == made.result
    load_server(place / "made")
    parts = {file.name: file for file in read_update(data).files}
    assert {parts[ENCODER_FILE].way, parts[DETECTOR].way} == {"weights"}
    assert parts[ENCODER_FILE].part_bytes < 45_000
    assert (out / DETECTOR).read_bytes() == (place / "made" / DETECTOR).read_bytes()


def test_old_tables_can_be_kept(place):
    old, new = place / "old" / ENCODER_FILE, place / "new" / ENCODER_FILE
    arrays = {**arrays_of(new), "entropy.escape": np.array([7], np.int32)}
    mixed = place / "mixed.safetensors"
    mixed.write_bytes(save(arrays))
    kept = load(with_weights(mixed, halves_of(arrays), old))
    tables = {name: one for name, one in arrays_of(old).items() if name.startswith("entropy.")}
    assert tables and {name for name in kept if name.startswith("entropy.")} == set(tables)
    assert all(np.array_equal(kept[name], one) for name, one in {**tables, "gains": arrays["gains"]}.items())


def test_a_budget_that_cannot_be_met_is_said(place, capsys):
    assert update(place, "tiny", "--budget-kb", "0.02") == 2
    assert "20 bytes are too few" in capsys.readouterr().err
    assert not (place / "tiny").exists() and not (place / "tiny.ssu").exists()


def test_bundles_that_do_not_fit_together_are_refused(place, tiny_bundle, capsys):
    assert update(place, "other", "--to", str(tiny_bundle)) == 2
    assert "another encoder" in capsys.readouterr().err
    assert update(place, "new") == 2
    assert "choose another place" in capsys.readouterr().err
