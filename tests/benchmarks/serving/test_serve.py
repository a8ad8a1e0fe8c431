"""The load generator: it sends when it is time, and counts what becomes of every frame."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from benchmarks.__main__ import main
from benchmarks.harness.cores import Cores, available_cores
from benchmarks.harness.processes import ServerProcess, server_process
from benchmarks.serving import bench as serve_bench
from benchmarks.serving import bundle_switch as serve_switch
from benchmarks.serving import load as load_module
from benchmarks.serving import rounds as serve_rounds
from benchmarks.serving import scenarios as serve_scenarios
from benchmarks.serving import serve
from benchmarks.serving.bench import BareModel, bench_from
from benchmarks.serving.figures import summary
from benchmarks.serving.load import Device, Load, Tally, added, run_devices, run_load
from splitnet.bundle import load_server
from splitnet.errors import LinkError
from splitnet.manifest import load_manifest
from splitnet.messages import Ack, FrameDetections, FrameError, ServerTiming
from tests.support.fake_model import frame, one_object
from tests.support.fake_server import DIGEST, FakeService, ack_and_detect, serving

LOAD = Load(devices=3, frames_per_s=60.0, deadline_ms=20_000, seconds=0.4)  # a slow machine may answer late


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "SETTLE_S", 0.0)
    monkeypatch.setattr(load_module, "OPENING_S", 0.0)


async def test_every_frame_is_sent_when_it_is_due_and_its_answer_counted():
    service = FakeService()
    async with serving(service) as address:
        tallies = await run_load(address, DIGEST, [frame(1)], LOAD)
    assert [tally.sent for tally in tallies] == pytest.approx([8] * 3, abs=1)
    assert {one.deadline_ms for one in service.frames} == {20_000}
    assert service.sessions == 3
    for tally in tallies:
        assert tally.due_at_s == pytest.approx([tally.due_at_s[0] + 0.05 * index for index in range(tally.sent)])
        assert tally.answered_at_s == tally.due_at_s and len(tally.latencies_ms) == tally.sent
        assert len(tally.lags_ms) == tally.sent and min(tally.lags_ms) >= 0
        assert len(tally.acks_ms) == tally.sent and min(tally.acks_ms) > 0  # the stream's own round trip


async def test_frames_are_sent_whether_others_are_answered_or_not():
    def only_ack(one):
        return ack_and_detect(one)[:1]

    load = replace(LOAD, deadline_ms=20)
    async with serving(FakeService(answer=only_ack)) as address:
        tallies = await run_load(address, DIGEST, [frame(1)], load)
    assert summary(tallies, load)["unanswered"] == sum(tally.sent for tally in tallies) > 20


async def test_refusals_are_counted_by_their_status():
    def refuse(one):
        busy = FrameError(one.frame_id, one.capture_time_us, grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
        return [Ack(one.frame_id, len(one.payload), 5, 1), busy]

    async with serving(FakeService(answer=refuse)) as address:
        tallies = await run_load(address, DIGEST, [frame(1)], LOAD)
    assert all(tally.refused == {"RESOURCE_EXHAUSTED": tally.sent} for tally in tallies)


def test_a_device_that_is_late_itself_does_not_blame_the_server():
    device = Device(0, [frame(1)], LOAD)
    device._due_at[7], device._left_at[7] = 10.0, 10.004  # 4 ms late
    answer = FrameDetections(7, 0, one_object(0), ServerTiming(wait_ms=1.0, decode_ms=2.0, infer_ms=3.0))
    device._count(answer, 10.012)
    assert device.tally.latencies_ms == [pytest.approx(12.0)]
    assert device.tally.overheads_ms == [pytest.approx(8.0 - 6.0)]


def test_tallies_of_several_sessions_are_added_up():
    one, other = Tally(2, [1.0], refused=Counter(A=1), due_at_s=[1.0, 2.0]), Tally(3, [2.0, 3.0], refused=Counter(A=2))
    whole = added([one, other])
    assert (whole.sent, whole.latencies_ms, whole.refused) == (5, [1.0, 2.0, 3.0], Counter(A=3))
    assert whole.due_at_s == [1.0, 2.0] and one.sent == 2 and added([]) == Tally()


async def test_devices_may_send_at_rates_of_their_own():
    slow, fast = replace(LOAD, devices=1, frames_per_s=20.0), replace(LOAD, devices=1, frames_per_s=100.0)
    async with serving(FakeService()) as address:
        devices = [Device(0, [frame(1)], slow), Device(1, [frame(1)], fast)]
        tallies = await run_devices(address, DIGEST, devices)
    assert [tally.sent for tally in tallies] == pytest.approx([8, 40], abs=1)
    assert all(len(tally.latencies_ms) == tally.sent for tally in tallies)


@pytest.fixture(scope="module")
def address(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Start one server for all scenarios: a test must not take minutes."""
    log = tmp_path_factory.mktemp("server") / "server.log"
    with server_process(tiny_bundle, log, "--no-tune", "--max-batch-size", "2", "--threads", "1") as server:
        yield server


@pytest.mark.long
def test_the_benchmark_compares_all_of_them(address, tiny_bundle, tmp_path, capsys, monkeypatch):
    @contextmanager
    def same_server(bench, log, bundle=None, batch=None):
        log.write_text('{"event": "stopped", "batch_sizes": {"1": 30, "2": 10}}\n')
        yield address

    monkeypatch.setattr(serve_rounds, "serving", same_server)
    monkeypatch.setattr(serve_scenarios, "serving", same_server)
    monkeypatch.setattr(serve, "switching", lambda *_: {"switch": [{"sent": 5, "not_in_time": 0}]})
    out = tmp_path / "new" / "serve.json"
    words = ["serve", "--bundle", str(tiny_bundle), "--devices", "2", "--sessions", "3", "--seconds", "0.3"]
    assert main([*words, "--loads", "0.1", "--deadline-ms", "100", "--max-batch-size", "2", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert all(row["cpu_ms_per_frame"] > 0 for row in (*result["bare"], *result["loads"]))
    assert all(row["share_of_bare_min"] <= row["share_of_bare"] <= row["share_of_bare_max"] for row in result["loads"])
    assert [row["cores"] for row in result["overhead"]] == ["as they are", "kept awake"]
    assert all(row["ack_ms_p50"] > 0 for row in result["overhead"])
    assert result["bare_frames_per_s"] > 0 and result["one_call_at_a_time_frames_per_s"] > 0
    assert [row["server"] for row in result["loads"]] == ["batching", "batching off"]
    assert all(row["memory_mb_end"] > 0 and row["batch_size_mean"] == 1.25 for row in result["loads"])
    assert [row["who"] for row in result["flooding"]] == ["the others", "the one that floods"]
    assert result["sessions"][0]["sessions"] == 3 and result["sessions_memory"][0]["memory_mb"] > 0
    assert (out.parent / "serve-light.png").exists()
    assert "goodput_per_s" in capsys.readouterr().out


@pytest.mark.long
def test_a_bundle_is_replaced_under_load(tiny_bundle, monkeypatch):
    monkeypatch.setattr(serve_switch, "SETTLE_S", 0.0)
    words = ["--bundle", str(tiny_bundle), "--devices", "4", "--seconds", "0.5", "--max-batch-size", "1"]
    bench = bench_from(options(words), Cores(available_cores(), available_cores()))
    told: list[str] = []
    monkeypatch.setattr(BareModel, "frames_per_s", lambda self: 40.0)
    result = serve_switch.switching(bench, None, BareModel(bench), told.append)
    assert told == ["a bundle replaced under load"]
    assert [row["phase"] for row in result["switch"]] == ["before", "during", "after", "after, new devices"]
    assert result["switch_s"] > 0 and result["switch"][0]["sent"] > 0 and result["switch"][3]["sent"] > 0
    assert {row["second"] for row in result["switch_memory"]} >= {0.0}


def test_another_version_is_another_bundle_with_the_same_weights(tiny_bundle, tmp_path):
    digest = serve_switch.another_version(tiny_bundle, tmp_path / "other")
    other = load_server(tmp_path / "other").manifest
    assert other.digest == digest != load_manifest(tiny_bundle).digest
    assert other.files == load_manifest(tiny_bundle).files


async def test_a_switch_that_was_refused_is_an_error(tmp_path):
    log = tmp_path / "server.log"
    log.write_text('a line of another kind\n{"event": "bundles refreshed", "refused": ["broken"], "loaded": []}\n')
    with pytest.raises(LinkError, match="did not take the new bundle"):
        await serve_switch._refreshed(log)


def options(words: list[str]) -> Namespace:
    parser = ArgumentParser()
    serve.BENCHMARK.add_arguments(parser)
    return parser.parse_args(words)


def test_a_quick_look_is_smaller_and_never_larger():
    quick = serve._quick(options(["--quick", "--devices", "2", "--seconds", "9"]))
    assert (quick.devices, quick.seconds, quick.loads) == (2, serve.QUICK_SECONDS, serve.QUICK_LOADS)


def test_sizes_of_batches_come_from_the_log(tmp_path):
    log = tmp_path / "server.log"
    log.write_text('words\n{"event": "ready"}\n{"event": "stopped", "batch_sizes": {"1": 2, "8": 2}}\n')
    assert serve_bench.batch_sizes(log) == {1: 2, 8: 2}
    assert serve_bench.mean_size({1: 2, 8: 2}) == 4.5 and serve_bench.mean_size({}) is None
    log.write_text("")
    assert serve_bench.batch_sizes(log) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        ("--loads", "much"),
        ("--loads", "0"),
        ("--devices", "0"),
        ("--sessions", "3000"),
        ("--seconds", "0"),
        ("--threads", "0"),
        ("--max-batch-size", "65"),
    ],
)
def test_a_setting_out_of_range_is_one_line(tiny_bundle, capsys, wrong):
    assert main(["serve", "--bundle", str(tiny_bundle), *wrong]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
