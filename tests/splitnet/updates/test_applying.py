"""A new device half is the one that was signed, or there is none."""

from __future__ import annotations

import dataclasses

import pytest

from splitnet.bundle import load_device
from splitnet.errors import BundleError, UpdateError
from splitnet.updates.applying import APPLIERS, apply
from splitnet.updates.artefact import UPDATE
from tests.support.artefacts import digest, half_of, update


def test_a_whole_half_is_a_bundle_that_loads(tiny_bundle, tmp_path):
    artefact, contents = half_of(tiny_bundle, 1)
    apply(None, artefact, contents, tmp_path)
    assert load_device(tmp_path).manifest.digest == artefact.result
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder.safetensors", "manifest.json"]


def test_another_bundle_than_was_signed_is_refused(tiny_bundle, tmp_path):
    artefact, contents = half_of(tiny_bundle, 1)
    with pytest.raises(UpdateError, match="not"):
        apply(None, dataclasses.replace(artefact, result=digest("other")), contents, tmp_path)


def test_a_folder_without_a_bundle_is_refused(tiny_bundle, tmp_path):
    artefact, contents = half_of(tiny_bundle, 1)
    with pytest.raises(BundleError, match="no device half"):
        apply(None, artefact, {name: path for name, path in contents.items() if "manifest" not in name}, tmp_path)


@pytest.mark.parametrize("has_base", [False, True])
def test_an_update_for_another_base_is_refused(has_base, tiny_bundle, tmp_path, monkeypatch):
    monkeypatch.setitem(APPLIERS, UPDATE, lambda *_: pytest.fail("it must not be applied"))
    with pytest.raises(UpdateError, match="the update is for bundle"):
        apply(tiny_bundle if has_base else None, update(2, "elsewhere", "new"), {}, tmp_path)
