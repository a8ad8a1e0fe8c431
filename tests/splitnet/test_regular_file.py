"""Files that are none, or larger than they may be, are refused without being waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from splitnet.regular_file import read_regular


def test_a_file_is_read_whole_and_so_is_what_a_link_names(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "file", 5) == read_regular(tmp_path / "link", 9) == b"12345"


def test_a_larger_file_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    with pytest.raises(OSError, match="5 bytes, over 4"):
        read_regular(tmp_path / "file", 4)


def test_pipes_devices_and_folders_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    for path in (tmp_path / "pipe", tmp_path / "endless", tmp_path):
        with pytest.raises(OSError, match=r"regular file|directory"):
            read_regular(path, 1000)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_regular(Path(tmp_path / "nowhere"), 1000)
