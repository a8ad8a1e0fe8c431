"""A file that is written is there whole, or is what it was."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from splitnet.atomic_write import write_atomically, write_json


def test_bytes_and_text_are_written_over_what_was_there(tmp_path):
    path = tmp_path / "file.json"
    write_atomically(path, b"\x00old")
    write_atomically(path, "n\u00e9w\n")
    assert path.read_bytes() == b"n\xc3\xa9w\n"
    assert [one.name for one in tmp_path.iterdir()] == ["file.json"]


def test_what_was_there_stays_if_the_disk_is_full(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    write_atomically(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["file.json"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "nowhere" / "file", "text")


def test_a_link_stays_one(tmp_path):
    target, link = tmp_path / "there.json", tmp_path / "here.json"
    target.write_text("old")
    link.symlink_to(target)
    write_atomically(link, "new")
    assert link.is_symlink() and target.read_text() == "new"


def test_a_device_is_written_to():
    write_atomically(Path("/dev/null"), "text")
    assert not Path("/dev/null").is_file()


def test_json_is_a_value_a_line(tmp_path):
    write_json(tmp_path / "values.json", {"a": 1, "b": [2.5]})
    text = (tmp_path / "values.json").read_text()
    assert json.loads(text) == {"a": 1, "b": [2.5]}
    assert text.endswith("}\n") and text.splitlines()[1] == ' "a": 1,'
