"""Update files: what they make, and that what is damaged or hostile makes nothing."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from splitnet.bundle import load_device
from splitnet.errors import UpdateError
from splitnet.manifest import ENCODER_FILE, FILE_NAME
from splitnet.updates.applying import apply
from splitnet.updates.artefact import UPDATE, Artefact
from splitnet.updates.update_file import (
    PATCH,
    SAME,
    WEIGHTS,
    UpdatedFile,
    apply_update_file,
    patch_of,
    patched,
    read_update,
    sealed,
    write_update,
)
from tests.support.artefacts import file_of
from tests.support.updated_bundle import Updated, half, write_updated

SHA = "0" * 64


@pytest.fixture(scope="module")
def updated(tiny_bundle, tmp_path_factory) -> Updated:
    return write_updated(tiny_bundle, tmp_path_factory.mktemp("updated") / "tiny-next")


@pytest.fixture
def base(tiny_bundle, tmp_path) -> Path:
    return half(tiny_bundle, tmp_path / "base")


def empty(tmp_path: Path) -> Path:
    out = tmp_path / "out"
    out.mkdir()
    return out


def test_an_update_makes_the_new_device_half_of_the_old_one_bit_for_bit(updated, base, tmp_path):
    out = empty(tmp_path)
    update = apply_update_file(updated.data, base, out)
    assert (update.base, update.result) == (updated.base.digest, updated.manifest.digest)
    assert load_device(out).manifest.digest == updated.manifest.digest
    for name in (ENCODER_FILE, FILE_NAME):
        assert (out / name).read_bytes() == (updated.bundle / name).read_bytes()


def test_it_holds_the_changed_weights_and_hardly_more(updated):
    files = {file.name: file for file in read_update(updated.data).files}
    assert (files[ENCODER_FILE].way, files[FILE_NAME].way) == (WEIGHTS, PATCH)
    assert len(updated.data) < (updated.bundle / ENCODER_FILE).stat().st_size / 20


def test_a_file_that_stays_is_not_sent(updated):
    (stays,) = (file for file in read_update(updated.data).files if file.name == "detector.safetensors")
    assert (stays.way, stays.part_bytes) == (SAME, 0)


def test_a_device_applies_it_as_an_artefact(updated, base, tmp_path):
    path = tmp_path / "update.ssu"
    path.write_bytes(updated.data)
    files = (file_of("update.ssu", updated.data),)
    artefact = Artefact(UPDATE, "tiny", 2, updated.manifest.digest, files, updated.base.digest)
    apply(base, artefact, {"update.ssu": path}, empty(tmp_path))
    with pytest.raises(UpdateError, match="without its file"):
        apply(base, artefact, {}, tmp_path)


def test_another_base_is_refused(updated, base, tmp_path):
    data = bytearray((base / ENCODER_FILE).read_bytes())
    data[-1] ^= 1
    (base / ENCODER_FILE).write_bytes(bytes(data))
    with pytest.raises(UpdateError):
        apply_update_file(updated.data, base, empty(tmp_path))


def test_every_flip_and_every_cut_is_noticed(updated, base, tmp_path):
    out, data = empty(tmp_path), updated.data
    for at in range(0, len(data), max(1, len(data) // 150)):
        with pytest.raises(UpdateError):
            apply_update_file(data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :], base, out)
        with pytest.raises(UpdateError):
            apply_update_file(data[:at], base, out)
    with pytest.raises(UpdateError, match="cut, or damaged"):
        apply_update_file(data + b"x", base, out)
    with pytest.raises(UpdateError, match="another length"):
        apply_update_file(sealed(data[12:] + b"x"), base, out)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../evil"},
        {"base": "7"},
        {"files": []},
        {"files": [7]},
        {"files": [{"name": "a/b", "way": SAME, "sha256": SHA, "bytes": 1, "part_bytes": 0}]},
        {"files": [{"name": "a", "way": "magic", "sha256": SHA, "bytes": 1, "part_bytes": 0}]},
        {"files": [{"name": "a", "way": SAME, "sha256": SHA, "bytes": 1 << 60, "part_bytes": 0}]},
        {"files": [{"name": "a", "way": SAME, "sha256": SHA, "bytes": 1, "part_bytes": 1 << 40}]},
        {"files": [{"name": "a", "way": SAME, "sha256": SHA, "bytes": 1, "part_bytes": 0}] * 2},
        {"files": [{"name": f"f{i}", "way": SAME, "sha256": SHA, "bytes": 1, "part_bytes": 0} for i in range(81)]},
        {"files": None},
    ],
)
def test_a_hostile_head_is_refused(change, updated):
    whole = read_update(updated.data)
    head = {"name": "tiny", "base": whole.base, "result": whole.result, "files": [], **change}
    packed = zstandard.compress(json.dumps(head).encode())
    with pytest.raises(UpdateError):
        read_update(sealed(len(packed).to_bytes(4, "little") + packed))


@pytest.mark.parametrize("head", [b"[" * 60_000, b"\xff\xfe", b"{}", b"7"])
def test_a_head_that_is_no_description_is_refused(head):
    packed = zstandard.compress(head)
    with pytest.raises(UpdateError):
        read_update(sealed(len(packed).to_bytes(4, "little") + packed))


def test_a_patch_is_never_larger_than_it_was_said_to_be():
    bomb = zstandard.compress(bytes(10_000_000))
    assert len(bomb) < 2000
    with pytest.raises(UpdateError, match="instead of at most 100"):
        patched(b"", bomb, 100)
    of_unknown_size = zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 1000)
    with pytest.raises(UpdateError):
        patched(b"", of_unknown_size, 100)


def test_a_patch_sends_what_is_new():
    old = bytes(range(256)) * 40
    new = old[:5000] + b"something new" + old[5000:]
    patch = patch_of(old, new)
    assert len(patch) < 60 and patched(old, patch, len(new)) == new
    with pytest.raises(UpdateError):
        patched(old[::-1], patch, len(new) - 1)


def test_a_file_that_the_manifest_lists_otherwise_is_refused(updated, base, tmp_path):
    """The digest of a bundle does not cover the detector that devices run alone."""
    whole = read_update(updated.data)
    content = b"another detector"
    part = patch_of((base / "detector.safetensors").read_bytes(), content)
    added = UpdatedFile("detector.safetensors", PATCH, hashlib.sha256(content).hexdigest(), len(content), len(part))
    kept = [both for both in zip(whole.files, whole.parts, strict=True) if both[0].name != added.name]
    files, parts = zip(*kept, (added, part), strict=True)
    data = write_update(replace(whole, files=files, parts=parts))
    with pytest.raises(UpdateError, match=r"another detector\.safetensors than its manifest lists"):
        apply_update_file(data, base, empty(tmp_path))
