"""Server and client as two real processes on loopback, with real pictures."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import cv2
import pytest

from benchmarks.harness.processes import server_process
from edge_client.pipeline_settings import PipelineSettings
from splitnet.manifest import Accuracy
from splitnet.measured_point import MeasuredPoint
from splitnet.operating_point import Codec, Mode
from tests.support.tiny_bundle import write_tiny_bundle

PROJECT = Path(__file__).resolve().parents[2]
FRAMES = 40

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts `python -m ...`; what still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def started(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        running.append(subprocess.Popen(command, cwd=PROJECT, text=True, **pipes))
        return running[-1]

    yield started
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, photo) -> Path:
    """Return a folder of real photographs: one picture seen through a moving window."""
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(FRAMES):
        cv2.imwrite(str(folder / f"{index:03}.jpg"), photo[: 400 + index, index : index + 500])
    return folder


def serve(start: Start, bundle: Path, port: str = "0", *options: object) -> tuple[subprocess.Popen[str], str]:
    """Start a server; returns it and its HOST:PORT once it is ready."""
    listen = ["--listen", f"127.0.0.1:{port}", "--threads", 1, "--no-tune"]
    server = start("cloud_server", "serve", "--bundle", bundle, *listen, *options)
    assert server.stdout is not None
    line = server.stdout.readline()
    assert line.startswith("cloud-server ready: listening on "), line + server.communicate()[1]
    return server, line.split()[4].rstrip(",")


@pytest.fixture(scope="module")
def address(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the HOST:PORT of a server for all tests that leave it alone."""
    with server_process(tiny_bundle, tmp_path_factory.mktemp("server") / "log", "--threads", "1") as server:
        yield server.address


def run(start: Start, address: str, bundle: Path, source: Path, *options: object) -> subprocess.Popen[str]:
    return start("edge_client", "run", "--server", address, "--bundle", bundle, "--source", source, *options)


def detections_pipe(tmp_path: Path) -> tuple[Path, Callable[[], IO[str]]]:
    """Return a named pipe for --out, so that a test can wait for a line instead of sleeping."""
    path = tmp_path / "detections.jsonl"
    os.mkfifo(path)
    return path, lambda: path.open(encoding="utf-8")


def test_every_picture_comes_back_as_detections(start, address, tiny_bundle, pictures, tmp_path):
    out, video, summary = tmp_path / "out.jsonl", tmp_path / "out.mp4", tmp_path / "summary.json"
    schedule = "w4 q2, w1 q0, w2 q1 zstd, jpeg 40, webp 20"
    options = ["--schedule", schedule, "--schedule-frames", 2, "--as-fast-as-possible", "--json-summary", summary]
    client = run(start, address, tiny_bundle, pictures, *options, "--out", out, "--annotate", video)
    printed, complaints = client.communicate(timeout=120)
    assert client.returncode == 0, complaints
    assert complaints == ""
    assert f"{FRAMES} of {FRAMES} frames answered" in printed
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert sorted(record["frame_id"] for record in records) == list(range(1, FRAMES + 1))  # a cluster's overtake
    assert {record["codec"] for record in records} == {"rans", "zstd", "jpeg", "webp"}
    assert all(record["server"]["infer_ms"] > 0 for record in records)
    assert len(json.loads(summary.read_text())["points"]) == 5
    assert cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES


def test_a_server_killed_in_mid_stream_comes_back_and_the_client_goes_on(start, tiny_bundle, pictures, tmp_path):
    server, address = serve(start, tiny_bundle)
    out, open_lines = detections_pipe(tmp_path)
    summary = tmp_path / "summary.json"
    options = ["--as-fast-as-possible", "--out", out, "--json-summary", summary]
    client = run(start, address, tiny_bundle, pictures, *options)
    with open_lines() as lines:
        before = [json.loads(lines.readline()) for _ in range(5)]
        server.kill()
        server.wait(20)
        serve(start, tiny_bundle, address.rpartition(":")[2])
        after = [json.loads(line) for line in lines]
    printed, complaints = client.communicate(timeout=120)
    assert client.returncode == 0, complaints
    told = json.loads(summary.read_text())
    assert told["sessions"] == 2
    assert told["lost"] <= 2
    assert len(before) + len(after) + told["lost"] == FRAMES
    assert after[-1]["frame_id"] == FRAMES
    assert "opened again 1 time" in printed
    assert len(complaints.splitlines()) == 2  # the link is gone, the link is back


def frames_received(server: subprocess.Popen[str]) -> int:
    """Return how many frames a server that ends has taken, by its log."""
    lines = server.communicate(timeout=120)[1].splitlines()
    log = [json.loads(line) for line in lines if line.startswith("{")]
    return sum(entry["frames"] for entry in log if entry["event"] == "session closed")


def test_a_server_that_drains_hands_its_client_over_to_the_next(start, tiny_bundle, pictures, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        spare_port = str(reserved.getsockname()[1])
    first, address = serve(start, tiny_bundle, "0", "--drain-grace-s", 60)
    out, open_lines = detections_pipe(tmp_path)
    summary = tmp_path / "summary.json"
    servers = ["--server", f"127.0.0.1:{spare_port}"]  # nobody is there yet
    options = ["--as-fast-as-possible", "--out", out, "--json-summary", summary]
    client = run(start, address, tiny_bundle, pictures, *servers, *options)
    with open_lines() as lines:
        before = [json.loads(lines.readline()) for _ in range(5)]  # the pipe is too small for all: the client waits
        second, spare = serve(start, tiny_bundle, spare_port)
        first.terminate()
        after = [json.loads(line) for line in lines]
    printed, complaints = client.communicate(timeout=120)
    assert client.returncode == 0, complaints
    second.terminate()
    told = json.loads(summary.read_text())
    assert (told["moves"], told["server"]) == (1, spare)
    assert (told["captured"], told["overtaken"], told["refused"]) == (FRAMES, 0, {})
    # One session more than the two, if the machine is so slow that the link seems dead, costs as much as another.
    assert told["lost"] <= PipelineSettings().max_in_flight * (told["sessions"] - 1)
    assert len(before) + len(after) == told["answered"] == FRAMES - told["lost"]
    received = [frames_received(server) for server in (first, second)]
    assert first.returncode == second.returncode == 0
    assert received[0] >= len(before) and received[1] > 0
    assert told["answered"] <= sum(received) <= FRAMES
    assert f"connected to {spare} instead of {address}" in complaints
    assert f"at {spare} after 1 move" in printed


def test_a_device_with_the_detector_goes_on_without_its_server(start, pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle = tmp_path / "measured"
    split = MeasuredPoint(Mode.SPLIT, Codec.RANS, 4, 2, 24.0, 40.0, 100.0, 120.0, 2.0, 1.0)
    worse_alone = Accuracy(5.0, 9.0)  # so that the device detects by itself only when it has to
    write_tiny_bundle(bundle).with_measurements(worse_alone, (split,)).write(bundle)
    server, address = serve(start, bundle)
    out, open_lines = detections_pipe(tmp_path)
    summary = tmp_path / "summary.json"
    options = ["--deadline-ms", 10_000, "--loop", "--out", out, "--json-summary", summary]
    client = run(start, address, bundle, pictures, *options)

    def until(mode: str) -> None:
        while json.loads(lines.readline())["mode"] != mode:
            pass

    with open_lines() as lines:
        until("split")
        server.kill()
        server.wait(20)
        until("local")
        serve(start, bundle, address.rpartition(":")[2])
        until("split")
        client.send_signal(signal.SIGINT)
        lines.read()
    printed, complaints = client.communicate(timeout=120)
    assert client.returncode == 0, complaints
    told = json.loads(summary.read_text())
    assert told["local"] >= 1
    assert told["sessions"] == 2
    kept = told["answered"] + told["local"] + told["skipped"] + told["overtaken"] + told["lost"]
    assert told["captured"] == kept + sum(told["refused"].values())
    assert "by mode: " in printed
    assert "measuring this device once" in complaints


def test_a_server_with_another_bundle_is_refused_in_one_line(start, address, tiny_bundle, pictures, tmp_path):
    ours = write_tiny_bundle(tmp_path / "other", seed=1)
    client = run(start, address, tmp_path / "other", pictures)
    printed, complaints = client.communicate(timeout=60)
    assert client.returncode == 2
    assert complaints.startswith("edge-client: ")
    assert len(complaints.splitlines()) == 1
    assert ours.digest[:12] in complaints
    assert json.loads((tiny_bundle / "manifest.json").read_text())["digest"][:12] in complaints
    assert len(printed.splitlines()) == 1  # which bundle, and what runs it


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_everything_written(start, address, tiny_bundle, pictures, tmp_path, number):
    out, open_lines = detections_pipe(tmp_path)
    video = tmp_path / "out.avi"
    options = ["--fps", 5, "--out", out, "--annotate", video]
    client = run(start, address, tiny_bundle, pictures, *options)
    with open_lines() as lines:
        records = [json.loads(lines.readline()) for _ in range(3)]
        client.send_signal(number)
        records += [json.loads(line) for line in lines]
    printed, complaints = client.communicate(timeout=60)
    assert client.returncode == 0, complaints
    assert f"{len(records)} of " in printed
    assert len(records) < FRAMES
    assert cv2.VideoCapture(str(video)).get(cv2.CAP_PROP_FRAME_COUNT) >= len(records)
