"""The two commands on one bundle: a server in a process of its own, the client in this one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness.processes import server_process
from edge_client.__main__ import main


def detected(bundle: Path, source: Path, folder: Path, schedule: str) -> list[dict[str, Any]]:
    """Serve a bundle to `edge-client run` over every image of a source; returns its lines of detections.

    schedule: operating points, one frame each. folder: for what both write.
    """
    out, threads = folder / "detections.jsonl", torch.get_num_threads()
    options = ["--schedule", schedule, "--schedule-frames", "1", "--as-fast-as-possible", "--out", str(out)]
    with server_process(bundle, folder / "server.log", "--threads", "1") as server:
        where = ["--server", server.address, "--bundle", str(bundle), "--source", str(source)]
        code = main(["run", *where, *options])
    torch.set_num_threads(threads)
    assert (code, server.process.returncode) == (0, 0)
    return [json.loads(line) for line in out.read_text().splitlines()]
