"""What a run of hours is asked for before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import main

QUICK = ("--data", "nowhere", "--tasks", "bccd", "--methods", "BitDelta")


def refusal(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """Return why options are refused."""
    assert main(["update", *QUICK, *options]) == 2
    return capsys.readouterr().err


def test_a_run_without_a_place_for_what_it_has_finished_is_refused(capsys):
    assert "say --out or --work" in refusal(capsys)


@pytest.mark.parametrize(
    "options",
    [("--square", "100"), ("--limit", "0"), ("--steps", "0"), ("--full-steps", "0"), ("--seeds", "-1")],
)
def test_numbers_that_say_nothing_are_refused(options, tmp_path: Path, capsys):
    assert "must be" in refusal(capsys, "--work", str(tmp_path), *options)
    assert list(tmp_path.iterdir()) == []


def test_rows_of_other_settings_are_not_mixed(tmp_path: Path, capsys):
    work = ("--work", str(tmp_path / "new" / "work"))
    assert "nowhere/bccd has no train.json" in refusal(capsys, *work, "--steps", "5")
    assert "has other settings" in refusal(capsys, *work, "--steps", "6")
