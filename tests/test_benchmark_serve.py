"""The load generator: it sends when it is time, and counts what becomes of every frame."""

from __future__ import annotations

import json
from collections import Counter

import grpc
import pytest

from benchmarks import load as load_module
from benchmarks.__main__ import main
from benchmarks.load import Load, Tally, run_load
from benchmarks.serve import jain, summary
from splitnet.messages import Ack, FrameError
from tests.fake_model import frame
from tests.fake_server import DIGEST, FakeService, ack_and_detect, serving

LOAD = Load(devices=3, frames_per_s=60.0, deadline_ms=200, seconds=0.4)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "SETTLE_S", 0.0)


def test_jains_index_is_one_for_equals_and_one_nth_if_one_has_all():
    assert jain([3, 3, 3]) == pytest.approx(1.0)
    assert jain([5, 0, 0, 0]) == pytest.approx(0.25)
    assert jain([0, 0]) == 1.0


def test_a_summary_counts_late_shed_and_unanswered_frames():
    tallies = [
        Tally(4, [10.0, 250.0], [1.0, 3.0], Counter(RESOURCE_EXHAUSTED=1)),
        Tally(2, [30.0], [2.0], Counter(DEADLINE_EXCEEDED=1)),
    ]
    figures = summary(tallies, LOAD)
    assert figures["sent_per_s"] == 15.0 and figures["goodput_per_s"] == 5.0
    assert (figures["late"], figures["shed"], figures["expired"], figures["unanswered"]) == (1, 1, 1, 1)
    assert (figures["latency_ms_p50"], figures["overhead_ms_p50"], figures["jain"]) == (30.0, 2.0, 1.0)


def test_a_summary_of_nothing_has_no_percentiles():
    figures = summary([Tally()], LOAD)
    assert figures["latency_ms_p99"] is None and figures["goodput_per_s"] == 0.0


async def test_every_frame_is_sent_and_its_answer_counted():
    service = FakeService()
    async with serving(service) as address:
        tallies = await run_load(address, DIGEST, [frame(1)], LOAD)
    assert [tally.sent for tally in tallies] == pytest.approx([8] * 3, abs=1)
    assert [len(tally.latencies_ms) for tally in tallies] == [tally.sent for tally in tallies]
    assert {one.deadline_ms for one in service.frames} == {200}
    assert service.sessions == 3


async def test_frames_are_sent_whether_others_are_answered_or_not():
    def only_ack(one):
        return ack_and_detect(one)[:1]

    async with serving(FakeService(answer=only_ack)) as address:
        tallies = await run_load(address, DIGEST, [frame(1)], LOAD)
    assert summary(tallies, LOAD)["unanswered"] == sum(tally.sent for tally in tallies) > 20


async def test_refusals_are_counted_by_their_status():
    def refuse(one):
        busy = FrameError(one.frame_id, one.capture_time_us, grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
        return [Ack(one.frame_id, len(one.payload), 5, 1), busy]

    async with serving(FakeService(answer=refuse)) as address:
        tallies = await run_load(address, DIGEST, [frame(1)], LOAD)
    assert all(tally.refused == {"RESOURCE_EXHAUSTED": tally.sent} for tally in tallies)


def test_the_benchmark_compares_all_of_them(tiny_bundle, tmp_path, capsys):
    out = tmp_path / "serve.json"
    words = ["serve", "--bundle", str(tiny_bundle), "--devices", "2", "--seconds", "0.5", "--loads", "0.2"]
    assert main([*words, "--max-batch-size", "2", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert result["bare_frames_per_s"] > 0 and result["one_call_at_a_time_frames_per_s"] > 0
    assert [row["server"] for row in result["loads"]] == ["batching", "batching off"]
    assert all(row["memory_mb_end"] > 0 and row["batch_size_mean"] >= 1 for row in result["loads"])
    assert "goodput_per_s" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [("--loads", "much"), ("--devices", "0"), ("--seconds", "0"), ("--loads", "0")])
def test_a_setting_out_of_range_is_one_line(tiny_bundle, capsys, wrong):
    assert main(["serve", "--bundle", str(tiny_bundle), *wrong]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
