"""The command line that is derived from a config class."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from splitnet.settings import add_commands, add_settings, count, option, read_settings, share


@dataclass(frozen=True)
class Settings:
    folder: Path = option("where to look", default=Path("here"), metavar="DIR")
    max_size: int = option("the most", default=8)
    grace_s: float = option("seconds", default=1.5)
    level: str = option("how much", default="low", choices=("low", "high"))
    out: Path | None = option("where to write", default=None)


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
    folder: Path = option("where to look", metavar="DIR")
    count: int = option("how many", default=1)


def test_a_field_without_a_default_must_be_given(capsys):
    parser = argparse.ArgumentParser()
    add_settings(parser, Needed)
    assert read_settings(Needed, parser.parse_args(["--folder", "there"])) == Needed(Path("there"))
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["--count", "2"])
    assert caught.value.code == 2
    assert "--folder" in capsys.readouterr().err


@dataclass(frozen=True)
class Rich:
    images: Sequence[Path] = option("folders, at most 90% full", nargs="+", aliases=["--photographs", "--pictures"])
    tables: int = option("how many", default=0, type=count)
    held_out: float = option("share of them", default=0.5, type=share)
    loop: bool = option("over and over", default=False, group="source")
    fps: float | None = option("frames a second", default=None, group="source")
    seed: int = option("of all draws", default=0)


def rich(*words: str) -> Rich:
    parser = argparse.ArgumentParser()
    add_settings(parser, Rich)
    return read_settings(Rich, parser.parse_args(words))


def test_the_annotation_says_how_a_value_is_read():
    expected = Rich([Path("a"), Path("b")], 2, 0.25, True, 3.0, 1)
    words = ["--images", "a", "b", "--tables", "2", "--held-out", "0.25", "--loop", "--fps", "3", "--seed", "1"]
    assert rich(*words) == expected


@pytest.mark.parametrize("spelling", ["--images", "--photographs", "--pictures"])
def test_an_alias_is_the_option_under_another_name(spelling):
    assert rich(spelling, "a").images == [Path("a")]


def test_help_and_errors_name_no_alias_and_take_a_percent_sign_as_it_is(capsys):
    for words in (["--help"], []):
        with pytest.raises(SystemExit):
            rich(*words)
    shown = capsys.readouterr()
    assert "folders, at most 90% full" in shown.out
    assert "required: --images" in shown.err
    assert "--photographs" not in shown.out + shown.err


def test_help_has_headings_and_shows_a_default_of_nought(capsys):
    with pytest.raises(SystemExit):
        rich("--help")
    before, after = capsys.readouterr().out.split("source:")
    assert "--seed N" in before and "of all draws (default: 0)" in before
    assert "--loop" in after and "--fps X" in after


@pytest.mark.parametrize(("kind", "text"), [(count, "0"), (count, "-1"), (count, "²"), (share, "1"), (share, "nan")])
def test_numbers_out_of_their_range_are_refused(kind, text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a"):
        kind(text)


def program() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tool")
    add_commands(parser).add_parser("go", help="go there").set_defaults(command=lambda _: 7)
    return parser


def test_a_command_is_chosen_by_its_name():
    options = program().parse_args(["go"])
    assert options.command(options) == 7


def test_without_a_command_the_help_is_shown_and_the_exit_code_is_that_of_wrong_use(capsys):
    options = program().parse_args([])
    assert options.command(options) == 2
    assert "go there" in capsys.readouterr().out


def test_a_program_tells_its_version(capsys):
    with pytest.raises(SystemExit) as caught:
        program().parse_args(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("tool ")
