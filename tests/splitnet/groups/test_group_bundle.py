"""A group's bundle: what a device and a server load of it, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from splitnet.bundle import load_device
from splitnet.errors import BitstreamError, BundleError, ConfigError
from splitnet.groups.group_bundle import load_group_server, load_part
from splitnet.groups.group_manifest import digest_in, is_group, load_group_manifest, part_file
from tests.support.tiny_group import PARTS


@pytest.fixture
def copied(tiny_group: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_group, tmp_path / "group"))


def encoded(folder: Path, part: int, quality: int = 1) -> tuple[np.ndarray, bytes]:
    """Return the symbols and the bitstream of a random image."""
    bundle = load_part(folder, part, PARTS)
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    symbols = bundle.encoder.encode(image, 1, quality)
    return symbols, bundle.codec.compress(symbols, 1, quality)


def test_a_device_needs_the_manifest_and_its_own_part_alone(copied):
    whole, _ = encoded(copied, 2)
    for file in copied.glob("*.safetensors"):
        if file.name != part_file(2):
            file.unlink()
    alone, _ = encoded(copied, 2)
    assert (alone == whole).all()
    with pytest.raises(BundleError, match=r"part-1\.safetensors is missing"):
        load_part(copied, 1, PARTS)


def test_the_server_reads_every_part_and_no_other(tiny_group):
    server = load_group_server(tiny_group)
    for number in range(1, PARTS + 1):
        symbols, payload = encoded(tiny_group, number)
        assert (server.codecs[number - 1].decode(payload).symbols == symbols).all()
        with pytest.raises(BitstreamError, match="bundle"):
            server.codecs[number % PARTS].decode(payload)


def test_a_group_is_told_from_other_bundles(tiny_group, tiny_bundle, tmp_path):
    assert (is_group(tiny_group), is_group(tiny_bundle), is_group(tmp_path)) == (True, False, False)
    assert digest_in(tiny_group) == load_group_manifest(tiny_group).digest
    with pytest.raises(BundleError, match="it is for a group of devices: give --group NAME and --part K/N"):
        load_device(tiny_group)
    with pytest.raises(BundleError, match="not a group's bundle: it has no parts; leave --group out"):
        load_part(tiny_bundle, 1, PARTS)


def test_parts_that_the_bundle_does_not_have_are_refused(tiny_group):
    with pytest.raises(ConfigError, match="has 3 parts: give --part K/3"):
        load_part(tiny_group, 1, 4)
    with pytest.raises(ConfigError, match="has parts 1 to 3, not 4"):
        load_part(tiny_group, 4, PARTS)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format_version", "group-2", "format group-2, this software reads group-1"),
        ("networks", [], "0 parts"),
        ("networks", [{"kind": "huge"}], "unknown kind of part 'huge'"),
        ("networks", [{"kind": "thin_front", "channels": 0}], "'stem' is missing"),
        ("input_size", 60, "an input size of 60"),
        ("stretches", 1, "expected true or false"),
        ("name", "other", "its digest does not match"),
        ("server", None, "not iterable"),
    ],
)
def test_a_manifest_that_was_edited_is_refused(copied, field, value, message):
    path = copied / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(BundleError, match=message):
        load_group_manifest(copied)


def test_a_damaged_file_is_refused(copied):
    (copied / part_file(1)).write_bytes((copied / part_file(1)).read_bytes()[:-1])
    with pytest.raises(BundleError, match="half copied"):
        load_part(copied, 1, PARTS)
