"""What TLS costs a server's throughput: two servers on one core, in the clear and under TLS, by turns at their limit.

Sessions send the next frame as soon as one is answered, so the server never waits for them.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

from benchmarks.harness.cores import available_cores, on_cores
from benchmarks.harness.processes import server_process
from benchmarks.serving.bench import encoded_frames
from cloud_server.access.authority import AccessFolder
from edge_client.transport.credentials import Credentials
from edge_client.transport.session import open_session
from edge_client.transport.tls_files import TlsFiles
from splitnet.bundle import load_device
from splitnet.messages import Frame, FrameDetections, FrameError, OpenSession

SESSIONS, IN_FLIGHT = 8, 2
WARM_UP_S = 1.0
PATIENCE_S = 300.0
OPTIONS = ("--no-tune", "--threads", "1", "--device", "cpu")


def throughput(bundle: Path, rounds: int, seconds: float) -> list[dict[str, object]]:
    """Return the median frames a second of each way, over rounds of so many seconds."""
    frames, digest = encoded_frames(bundle, None), load_device(bundle).manifest.device_digest
    cores = available_cores()
    found: dict[str, list[float]] = {"clear": [], "tls": []}
    with ExitStack() as stack, on_cores(cores[:1]):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        access = AccessFolder(folder / "access")
        access.init(["127.0.0.1"], datetime.now(timezone.utc))
        secured = ("--tls-cert", str(access.server_file))
        trusted = Credentials(TlsFiles(server_ca=str(access.path / "authority.pem")))
        ways = []
        for way, options, credentials in (("clear", (), None), ("tls", secured, trusted)):
            log = folder / f"{way}.log"
            server = stack.enter_context(server_process(bundle, log, *OPTIONS, *options, patience_s=PATIENCE_S))
            ways.append((way, server.address, credentials))
        with on_cores(cores[-1:]):
            for _ in range(rounds):
                for way, address, credentials in ways:
                    found[way].append(asyncio.run(_at_the_limit(address, digest, frames, credentials, seconds)))
    return [{"way": way, "frames_per_s": median(rates), "rounds": rates} for way, rates in found.items()]


async def _at_the_limit(
    server: str, digest: str, frames: Sequence[Frame], credentials: Credentials | None, seconds: float
) -> float:
    """Return how many frames a second a server answers when it always has some."""
    begins = time.monotonic() + WARM_UP_S
    counts = await asyncio.gather(
        *(
            _session(server, OpenSession(f"device-{n}", digest), frames, credentials, (begins, begins + seconds))
            for n in range(SESSIONS)
        )
    )
    return sum(counts) / seconds


async def _session(
    server: str,
    opening: OpenSession,
    frames: Sequence[Frame],
    credentials: Credentials | None,
    between: tuple[float, float],
) -> int:
    """Keep some frames in flight; return how many were answered by detections between two moments."""
    begins, ends = between
    numbered = (replace(frame, frame_id=n) for n, frame in enumerate(itertools.cycle(frames), start=1))
    count = 0
    async with open_session(server, opening, timeout_s=30.0, credentials=credentials) as session:
        for frame in itertools.islice(numbered, IN_FLIGHT):
            session.send(frame)
        with suppress(StopAsyncIteration):
            while (now := time.monotonic()) < ends:
                reply = await anext(session.replies())
                if isinstance(reply, FrameDetections | FrameError):
                    count += isinstance(reply, FrameDetections) and now >= begins
                    session.send(next(numbered))
    return count
