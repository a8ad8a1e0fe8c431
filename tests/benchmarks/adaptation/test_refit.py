"""The command that fits the chains of links anew."""

from __future__ import annotations

import json
from argparse import ArgumentParser

import pytest

from benchmarks.adaptation import refit
from benchmarks.adaptation.refit import BENCHMARK, KINDS
from splitnet.errors import ConfigError


@pytest.fixture
def recordings(tmp_path):
    """Return a folder in which each link has a megabit a second in its first half, and two in its second."""
    for names in KINDS.values():
        for name in names:
            if name.endswith(".csv"):
                lines = [f"{i * 0.1:.1f},{1.0 if i < 200 else 2.0}" for i in range(400)]
            else:
                lines = [str(12 * i) for i in range(1667)] + [str(20_000 + 6 * i) for i in range(3334)]
            (tmp_path / name).write_text("\n".join(lines) + "\n")
    return tmp_path


def run(*arguments: str) -> dict:
    parser = ArgumentParser()
    BENCHMARK.add_arguments(parser)
    return BENCHMARK.run(parser.parse_args(arguments))


def test_only_the_halves_that_nothing_is_judged_on_are_fitted_unless_all_is_asked_for(recordings):
    halves, whole = run("--traces", str(recordings)), run("--traces", str(recordings), "--whole")
    assert [row["links"] for row in halves["links"]] == ["3g", "lte", "5g"]
    for half, all_of_it in zip(halves["links"], whole["links"], strict=True):
        assert half["mbps_mean"] < all_of_it["mbps_mean"]


def test_what_is_fitted_is_kept_only_if_asked_for(recordings, tmp_path, monkeypatch):
    monkeypatch.setattr(refit, "FILE", tmp_path / "link_models.json")
    assert run("--traces", str(recordings))["kept"] is False
    assert not refit.FILE.exists()
    run("--traces", str(recordings), "--keep")
    assert list(json.loads(refit.FILE.read_text())) == ["3g", "lte", "5g"]


def test_a_missing_recording_is_said(tmp_path):
    with pytest.raises(ConfigError, match=r"there is no .*TMobile-UMTS-driving.up: give the folder"):
        run("--traces", str(tmp_path))
