"""Several cameras in one client process, beside one: who waits for whom at the encoder, and what memory they take.

A real `edge-client run` on one core and a real `cloud-server` on the others. The cameras are folders of images at a
camera's rate, not in step; the trace says when each frame was captured and when it was encoded.
"""

from __future__ import annotations

import json
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import psutil

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.cores import available_cores, on_cores, shared_out
from benchmarks.harness.images import frames_from
from benchmarks.harness.processes import child_process, last_line, server_process
from edge_client.percentiles import percentile
from splitnet.errors import ConfigError, LinkError
from splitnet.manifest import load_manifest
from splitnet.settings import DEFAULT_BUNDLE

SAMPLE_S = 0.5
WARM_UP_S = 3.0  # of each run, left out
IMAGES = 40  # of each folder
START_S = 8.0  # that a client takes to load its bundle
END_S = 20.0


@dataclass(frozen=True)
class Encode:
    """One frame at the encoder. Times in milliseconds since the run began."""

    camera: str
    captured: float
    began: float
    ended: float


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="images to show; scikit-image's if not given")
    parser.add_argument("--cameras", type=int, default=4, metavar="N", help="beside one alone (%(default)s)")
    parser.add_argument("--fps", type=float, default=10.0, help="of each camera (%(default)s)")
    parser.add_argument("--width", type=int, default=2, help="of the encoder (%(default)s)")
    parser.add_argument("--seconds", type=float, default=40.0, help="of each run (%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return a row for one camera and one for several, and how their memory compares."""
    if options.cameras < 2 or options.seconds < 2 * WARM_UP_S:
        raise ConfigError(f"--cameras is at least 2, --seconds at least {2 * WARM_UP_S:g}")
    manifest = load_manifest(options.bundle)
    cores = shared_out(available_cores(), max(1, len(available_cores()) - 1))
    with tempfile.TemporaryDirectory() as folder:
        shown = _write_images(Path(folder) / "shown", options.images)
        with on_cores(cores.server), server_process(options.bundle, Path(folder) / "server.log") as server:
            rows = []
            for count in (1, options.cameras):
                with on_cores(cores.load[:1]):
                    rows.append(_measure(server.address, shown, Path(folder), count, options))
    one, several = (float(str(row["memory_mb"])) for row in rows)
    return {
        "bundle": f"{manifest.name} {manifest.digest[:12]}",
        "fps": options.fps,
        "width": options.width,
        "memory_ratio": round(several / one, 3),
        "rows": rows,
    }


BENCHMARK = Benchmark("cameras", "several cameras in one client: waits at the encoder, memory", _add_arguments, run)


def _write_images(folder: Path, given: Path | None) -> Path:
    folder.mkdir()
    for index, image in enumerate(frames_from(given, IMAGES)):
        cv2.imwrite(str(folder / f"{index:03d}.jpg"), image)
    return folder


def _measure(server: str, shown: Path, folder: Path, cameras: int, options: Namespace) -> dict[str, object]:
    """Run one client and return what its trace and its memory say."""
    trace, log = folder / f"trace-{cameras}.jsonl", folder / f"client-{cameras}.log"
    sources = [word for _ in range(cameras) for word in ("--source", str(shown))]
    choice = ["--width", str(options.width), "--bundle", str(options.bundle.resolve())]
    pace = ["--fps", f"{options.fps:g}", "--loop"]
    command = ["edge_client", "run", "--server", server, *sources, *choice, *pace, "--trace-out", str(trace)]
    with log.open("w", encoding="utf-8") as errors, child_process(command, errors, errors) as process:
        memory_bytes = _largest(process.pid, START_S + options.seconds)
        process.terminate()  # a clean end
        if process.wait(END_S):
            raise LinkError(f"the client has failed: {last_line(log)}")
    records = [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]
    return {"cameras": cameras, **figures(records), "memory_mb": round(memory_bytes / 1e6, 1)}


def _largest(pid: int, seconds: float) -> int:
    """Return the most memory that a process has of its own (USS) within a time. Raises LinkError if it ends before."""
    process, most, until = psutil.Process(pid), 0, time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            most = max(most, process.memory_full_info().uss)
        except psutil.Error as error:
            raise LinkError("the client has ended too early") from error
        time.sleep(SAMPLE_S)
    return most


def figures(records: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """Return what a trace says of the encoder: waits in milliseconds, and how many encodes of others they were."""
    late = [record for record in records if record["time_s"] >= WARM_UP_S]
    encodes = encodes_of(late)
    if not encodes:
        raise ConfigError("no frame was encoded")
    waited = waited_for(encodes)
    times_ms = [one.ended - one.began for one in encodes]
    return {
        "frames": len(late),
        "answered": sum(record["outcome"] in ("answered", "late") for record in late),
        "encode_ms_p50": round(percentile(times_ms, 50), 2),
        "encode_ms_p99": round(percentile(times_ms, 99), 2),
        "waits_for_others_ms_p50": round(percentile([ms for ms, _ in waited], 50), 2),
        "waits_for_others_ms_p99": round(percentile([ms for ms, _ in waited], 99), 2),
        "waits_for_others_ms_max": round(max(ms for ms, _ in waited), 2),
        "most_encodes_of_one_other": max(most for _, most in waited),
    }


def encodes_of(records: Sequence[Mapping[str, Any]]) -> list[Encode]:
    """Return the frames of a trace that were encoded, in the order of that."""
    found = []
    for record in records:
        if record["actual"] is not None:
            captured = 1000 * record["time_s"]
            began = captured + record["actual"]["wait_ms"]
            found.append(Encode(record.get("camera", ""), captured, began, began + record["actual"]["encode_ms"]))
    return sorted(found, key=lambda one: one.began)


def waited_for(encodes: Sequence[Encode]) -> list[tuple[float, int]]:
    """Return of each frame how long others were encoded while it waited, and the most frames of one camera of these.

    A frame that was begun before this one was captured counts, with what was left of it.
    """
    waited = []
    for i, one in enumerate(encodes):
        total_ms, of_camera = 0.0, dict[str, int]()
        for other in reversed(encodes[:i]):  # one at a time: they end in the order in which they begin
            if other.ended <= one.captured:
                break
            if other.camera != one.camera:
                total_ms += min(other.ended, one.began) - max(other.began, one.captured)
                of_camera[other.camera] = of_camera.get(other.camera, 0) + 1
        waited.append((max(0.0, total_ms), max(of_camera.values(), default=0)))
    return waited
