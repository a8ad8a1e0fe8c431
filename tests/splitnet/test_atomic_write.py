"""A file that is written is there whole, or is what it was."""

from __future__ import annotations

import os

import pytest

from splitnet.atomic_write import write_atomically


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
