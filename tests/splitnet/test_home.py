"""Places for a user's files, and a user without a home."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from splitnet import home
from splitnet.errors import ConfigError
from splitnet.home import cache_folder, ensure_home

PROJECT = Path(__file__).resolve().parents[2]


def test_the_cache_is_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "slimsplit"


def test_a_home_is_left_as_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ensure_home() is None
    assert os.environ["HOME"] == str(tmp_path)


def test_an_empty_home_is_none(monkeypatch):
    monkeypatch.setenv("HOME", "")
    known = pwd.getpwuid(os.getuid()).pw_dir
    assert ensure_home() is None
    assert Path("~").expanduser() == Path(known)


@pytest.fixture
def nobody(monkeypatch, tmp_path):
    """Make this a user whom nobody knows; returns the folder for temporary files."""
    monkeypatch.setattr(home.os.path, "expanduser", lambda path: path)
    monkeypatch.setattr(home.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(home.getpass, "getuser", lambda: {}["unknown"])
    for name in ("HOME", "USER"):
        monkeypatch.setenv(name, "x")
    return tmp_path


def test_a_user_whom_nobody_knows_gets_a_home_and_a_name(nobody):
    given = ensure_home()
    assert given == nobody / f"slimsplit-{os.getuid()}"
    assert (given.stat().st_mode & 0o777, os.environ["HOME"], os.environ["USER"]) == (0o700, str(given), "slimsplit")
    assert ensure_home() == given  # the next time, too


def test_a_folder_of_somebody_else_is_not_taken(nobody):
    (nobody / "elsewhere").mkdir()
    (nobody / f"slimsplit-{os.getuid()}").symlink_to(nobody / "elsewhere")
    with pytest.raises(ConfigError, match="not this user's: set HOME"):
        ensure_home()


def test_a_folder_that_cannot_be_made_is_an_error(nobody, monkeypatch):
    monkeypatch.setattr(home.tempfile, "gettempdir", lambda: str(nobody / "missing"))
    with pytest.raises(ConfigError, match=r"cannot be made .*: set HOME"):
        ensure_home()


PROBE = """
import getpass, os
from splitnet.home import cache_folder, ensure_home
os.setgid(12345)
os.setuid(12345)
print(ensure_home(), cache_folder(), getpass.getuser())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_it_works_for_a_real_user_without_an_entry():
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        ran = subprocess.run(
            [sys.executable, "-c", PROBE],
            cwd=PROJECT,
            env={**kept, "TMPDIR": folder},
            capture_output=True,
            text=True,
            check=True,
        )
    own = f"{folder}/slimsplit-12345"
    assert ran.stdout == f"{own} {own}/.cache/slimsplit slimsplit\n"
