"""The command line that is derived from a config class."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from splitnet.settings import add_settings, read_settings


@dataclass(frozen=True)
class Settings:
    folder: Path = field(default=Path("here"), metadata={"help": "where to look", "metavar": "DIR"})
    max_size: int = field(default=8, metadata={"help": "the most"})
    grace_s: float = field(default=1.5, metadata={"help": "seconds"})
    level: str = field(default="low", metadata={"help": "how much", "choices": ("low", "high")})
    out: Path | None = field(default=None, metadata={"help": "where to write", "type": Path})


def parse(*words: str) -> Settings:
    parser = argparse.ArgumentParser()
    add_settings(parser, Settings)
    return read_settings(Settings, parser.parse_args(words))


def test_without_options_the_defaults_hold():
    assert parse() == Settings()


def test_every_field_is_an_option_of_its_own_type():
    words = ["--folder", "there", "--max-size", "2", "--grace-s", "3", "--level", "high", "--out", "file"]
    assert parse(*words) == Settings(Path("there"), 2, 3.0, "high", Path("file"))


@pytest.mark.parametrize("words", [("--max-size", "many"), ("--level", "middle"), ("--unknown", "1")])
def test_what_does_not_fit_is_refused(words, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(*words)
    assert caught.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_help_shows_defaults_where_there_are_any(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert "--max-size N the most (default: 8)" in shown
    assert "--folder DIR where to look (default: here)" in shown
    assert "where to write (default" not in shown


@dataclass(frozen=True)
class Needed:
    folder: Path = field(metadata={"help": "where to look", "type": Path, "metavar": "DIR"})
    count: int = field(default=1, metadata={"help": "how many"})


def test_a_field_without_a_default_must_be_given(capsys):
    parser = argparse.ArgumentParser()
    add_settings(parser, Needed)
    assert read_settings(Needed, parser.parse_args(["--folder", "there"])) == Needed(Path("there"))
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["--count", "2"])
    assert caught.value.code == 2
    assert "--folder" in capsys.readouterr().err
