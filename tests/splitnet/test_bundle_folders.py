"""The places of bundles."""

from __future__ import annotations

import pytest

from splitnet.bundle_folders import bundles_in, find_bundles
from splitnet.errors import BundleError
from tests.support.tiny_bundle import write_tiny_bundle


def test_a_bundle_is_found_as_itself(tiny_bundle):
    assert find_bundles(tiny_bundle) == [tiny_bundle]


def test_bundles_are_found_inside_a_folder_in_order(tmp_path):
    for number, name in enumerate(["b", "a"]):
        write_tiny_bundle(tmp_path / name, seed=number)
    (tmp_path / "notes").mkdir()
    assert find_bundles(tmp_path) == [tmp_path / "a", tmp_path / "b"]


def test_a_groups_bundle_is_not_the_first(tmp_path):
    """The first bundle answers images by HTTP; a group's cannot."""
    write_tiny_bundle(tmp_path / "b")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "manifest.json").write_text('{"format_version": "group-1"}')
    assert bundles_in(tmp_path) == [tmp_path / "b", tmp_path / "a"]


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_folder_without_bundles_is_refused(tmp_path, name):
    with pytest.raises(BundleError):
        find_bundles(tmp_path / name)
    assert bundles_in(tmp_path / name) == []
