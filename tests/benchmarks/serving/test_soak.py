"""The soak: who visits, what became of the frames, and what a growth is."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from types import SimpleNamespace

import pytest

from benchmarks.__main__ import main
from benchmarks.serving import load as load_module
from benchmarks.serving import soak as soak_module
from benchmarks.serving.endurance_tables import fuzz, soak
from benchmarks.serving.load import Load, Tally
from benchmarks.serving.soak import Sample, Visit, held, outcome, visiting
from benchmarks.serving.usage import thinned
from tests.support.fake_model import frame
from tests.support.fake_server import DIGEST, FakeService, serving

LOAD = Load(devices=3, frames_per_s=60.0, deadline_ms=100, seconds=0.1)
RESULT = {
    "frames_per_s": 21.53,
    "minutes": 10.0,
    "devices": 20,
    "sessions": 640,
    "sessions_vanished": 213,
    "sent": 12_000,
    "answered": 11_998,
    "late": 1,
    "shed": 2,
    "expired": 0,
    "unanswered": 0,
    "errors": 0,
    "memory_mb_warm": 400.4,
    "memory_mb_end": 401.0,
    "growth_percent": 0.15,
    "open_files_warm": 40.0,
    "open_files_end": 41.0,
    "threads_warm": 20.0,
    "threads_end": 20.0,
}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "SETTLE_S", 0.0)
    monkeypatch.setattr(load_module, "OPENING_S", 0.0)
    monkeypatch.setattr(soak_module, "PAUSE_S", 0.0)


def samples(*memory_mb: float) -> list[Sample]:
    return [Sample(float(at), one, 10 + at, 5) for at, one in enumerate(memory_mb)]


def test_growth_is_from_after_the_warm_up_to_the_end():
    figures = held(samples(*[100.0] * 4, 200.0, 200.0, *[190.0] * 12, 203.0, 203.0))
    assert (figures["memory_mb_warm"], figures["memory_mb_end"]) == (200.0, 203.0)
    assert figures["growth_percent"] == pytest.approx(1.5)
    assert (figures["open_files_warm"], figures["open_files_end"]) == (14.5, 28.5)
    assert (figures["threads_warm"], figures["threads_end"]) == (5, 5)


def test_one_high_sample_is_no_growth():
    assert held(samples(*[100.0] * 28, 900.0, 100.0, 100.0))["growth_percent"] == 0.0


def test_a_short_run_has_figures_too():
    assert held(samples(100.0))["growth_percent"] == 0.0


def test_a_series_keeps_its_ends():
    assert [sample.at_s for sample in thinned(samples(*[1.0] * 101), 5)] == [0, 25, 50, 75, 100]
    assert thinned(samples(1.0, 2.0)) == samples(1.0, 2.0)


def test_frames_of_devices_that_left_are_not_called_unanswered():
    visits = [
        Visit(Tally(5, [10.0, 150.0], [], Counter(RESOURCE_EXHAUSTED=1)), None, False),
        Visit(Tally(4, [20.0]), None, True),
        Visit(Tally(2, [], [], Counter(DEADLINE_EXCEEDED=1)), "no link", False),
    ]
    figures = outcome(visits, 100)
    assert (figures["sessions"], figures["sessions_vanished"], figures["sent"]) == (3, 1, 11)
    assert (figures["answered"], figures["late"], figures["shed"], figures["expired"]) == (3, 1, 1, 1)
    assert (figures["unanswered"], figures["errors"], figures["first_error"]) == (2, 1, "no link")


@pytest.fixture
def _time_by_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a soak's time go on by 50 ms whenever it is looked at: as many visits on every machine."""
    looks = itertools.count()
    monkeypatch.setattr(soak_module, "time", SimpleNamespace(monotonic=lambda: 0.05 * next(looks)))


@pytest.mark.usefixtures("_time_by_looks")
async def test_devices_come_and_go_and_some_vanish():
    service = FakeService()
    async with serving(service) as address:
        visits = await visiting(address, DIGEST, [frame(1)], LOAD, 1.0)
    assert len(visits) == 10 and 0 < service.sessions <= 10  # some vanish before the server has seen them
    assert {visit.vanished for visit in visits} == {True, False}
    assert all(visit.error is None for visit in visits)
    assert sum(visit.tally.sent for visit in visits) > 0


@pytest.mark.usefixtures("_time_by_looks")
async def test_a_server_that_is_gone_is_an_error_of_every_visit():
    async with serving(FakeService()) as address:
        pass
    visits = await visiting(address, DIGEST, [frame(1)], Load(1, 20.0, 100, 0.1), 0.6)
    assert visits and all(visit.error is not None for visit in visits if not visit.vanished)


def test_the_tables_show_every_count():
    assert fuzz(
        {
            "executions": 1_002_000,
            "findings": 0,
            "targets": [{"target": "reply", "executions": 1_002_000, "memory_mb_peak": 331, "finding": None}],
        }
    ).splitlines()[2:] == ["| `reply` | 1,002,000 | 331 | none |", "| **all** | **1,002,000** | | **none** |"]
    lines = soak(RESULT).splitlines()
    assert "| frames | 12,000 sent, 11,998 answered; 1 late, 2 shed, 0 expired, 0 unanswered |" in lines
    assert "| memory after the warm-up, at the end | 400 MB, 401 MB: +0.15 % |" in lines


@pytest.mark.long
def test_a_soak_of_seconds_has_all_figures(tiny_bundle, tmp_path, capsys):
    out = tmp_path / "soak.json"
    words = ["soak", "--bundle", str(tiny_bundle), "--minutes", "0.03", "--devices", "2", "--stay-s", "0.3"]
    assert main([*words, "--load", "0.2", "--max-batch-size", "2", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert result["sessions"] >= 2
    assert result["errors"] == 0
    assert result["memory_mb_end"] > 0 and result["open_files_end"] > 0 and result["threads_end"] > 0
    assert result["series"][0].keys() == {"at_s", "memory_mb", "open_files", "threads"}
    assert soak(result).startswith("| | |")
    assert "growth_percent" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [("--minutes", "0"), ("--devices", "0"), ("--stay-s", "0"), ("--load", "0")])
def test_a_setting_out_of_range_is_one_line(tiny_bundle, capsys, wrong):
    assert main(["soak", "--bundle", str(tiny_bundle), *wrong]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
