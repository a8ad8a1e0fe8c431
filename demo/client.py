"""The demo's device: the real `edge-client run` as a process, told to go through a list of operating points."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness.processes import Process, ServerProcess, child_process
from demo.schedule import FPS, frames_each
from splitnet.errors import LinkError, SourceError, SplitError
from splitnet.operating_point import OperatingPoint

POLL_S = 0.1
START_PATIENCE_S = 600.0  # until the first frame; slow machines have all the time that they need


@dataclass(frozen=True)
class ClientFiles:
    """What the client writes."""

    folder: Path
    detections: Path
    clip: Path
    summary: Path
    trace: Path  # of the part where it adapts

    @classmethod
    def inside(cls, folder: Path) -> ClientFiles:
        """Return the files inside a folder."""
        names = ("detections.jsonl", "clip.mp4", "client.json", "adapting.jsonl")
        return cls(folder, *(folder / name for name in names))

    def counts(self) -> dict[str, Any]:
        """Return what became of the frames, as the client has counted; empty if it did not come so far."""
        if not self.summary.exists():
            return {}
        whole: dict[str, Any] = json.loads(self.summary.read_text(encoding="utf-8"))
        return {key: whole[key] for key in ("captured", "answered", "overtaken", "lost", "refused")}


def source_address(text: str) -> str:
    """Return a source as another process finds it. Raises SourceError if it is a path to nothing."""
    path = Path(text).expanduser()
    if path.exists():
        return str(path.resolve())
    if text.isdigit() or "://" in text:
        return text
    raise SourceError(f"{text}: no such file or folder; give a path, a camera index or an rtsp:// address")


def client_command(
    server: str, source: str, bundle: Path, points: Sequence[OperatingPoint], frames: int, files: ClientFiles
) -> list[str]:
    """Return what a user would type after `python -m` for this run."""
    return [
        *("edge_client", "run", "--server", server, "--source", source, "--bundle", str(bundle.resolve())),
        *("--schedule", ", ".join(map(str, points)), "--schedule-frames", str(frames_each(frames, len(points)))),
        *("--fps", f"{FPS:g}", "--max-frames", str(frames), "--device-id", "demo", "--whole-frames"),
        *("--out", str(files.detections), "--annotate", str(files.clip), "--json-summary", str(files.summary)),
    ]


def run_client(command: Sequence[str], server: ServerProcess) -> bool:
    """Run the client to its end; returns False if Ctrl+C ended it before. Its status line goes to stderr.

    Raises SplitError if it fails, LinkError if the server dies under it.
    """
    with child_process(command, stdout=subprocess.DEVNULL) as client:
        complete = _finished(client, server)
    if complete and client.returncode:
        raise SplitError(f"the client failed (exit code {client.returncode}); what it said stands above")
    return complete


def _finished(client: Process, server: ServerProcess) -> bool:
    try:
        while client.poll() is None:
            if not server.alive:
                raise LinkError(f"the server died (exit code {server.process.returncode}); its log says why")
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        end_client(client)
        return False
    return True


def wait_for_frames(client: Process, trace: Path) -> None:
    """Wait until the client has told the fate of its first frame. Raises SplitError if it does not."""
    until = time.monotonic() + START_PATIENCE_S
    while not (trace.exists() and trace.stat().st_size):
        if client.poll() is not None or time.monotonic() > until:
            raise SplitError(f"the client did not start (exit code {client.poll()}); what it said stands above")
        time.sleep(POLL_S)


def end_client(client: Process) -> None:
    """Let the client finish its files."""
    client.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):  # then the end of its block ends it
        client.wait(timeout=15)
