"""What TLS costs a server's throughput: two servers on one core, in the clear and under TLS, by turns at their limit.

Sessions send the next frame as soon as one is answered, so the server never waits for them. Answers come in batches: a
rate counts from the last answer before a round to the last one in it, or whole batches would come and go.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

import psutil

from benchmarks.harness.cores import available_cores, on_cores
from benchmarks.harness.processes import server_process
from benchmarks.serving.bench import encoded_frames
from cloud_server.access.authority import AccessFolder
from edge_client.transport.credentials import Credentials
from edge_client.transport.session import open_session
from edge_client.transport.tls_files import TlsFiles
from splitnet.bundle import load_device
from splitnet.errors import LinkError
from splitnet.messages import Frame, FrameDetections, FrameError, OpenSession

SESSIONS, IN_FLIGHT = 8, 2
WARM_UP_S = 1.0
PATIENCE_S = 300.0
OPTIONS = ("--no-tune", "--threads", "1", "--device", "cpu")


RESAMPLES = 2000


def throughput(bundle: Path, rounds: int, seconds: float) -> list[dict[str, object]]:
    """Return each way's median frames a second and processor time of a frame, over rounds of so many seconds.

    What TLS loses is the median over pairs of rounds, with its interval (bootstrap, 95 %).
    """
    frames, digest = encoded_frames(bundle, None), load_device(bundle).manifest.device_digest
    cores = available_cores()
    rates: dict[str, list[float]] = {"clear": [], "tls": []}
    spent: dict[str, list[float]] = {"clear": [], "tls": []}
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
            ways.append((way, server.address, psutil.Process(server.process.pid), credentials))
        with on_cores(cores[-1:]):
            for _ in range(rounds):
                for way, address, process, credentials in ways:
                    begin = _busy_s(process)
                    times = asyncio.run(_at_the_limit(address, digest, frames, credentials, seconds))
                    spent[way].append(1000 * (_busy_s(process) - begin) / len(times))
                    rates[way].append(rate_after(times, times[0] + WARM_UP_S))
    rows = [{"way": way, "frames_per_s": median(rates[way]), "cpu_ms": median(spent[way])} for way in rates]
    slower, dearer = lost(rates["tls"], rates["clear"]), lost(spent["clear"], spent["tls"])
    return [rows[0], {**rows[1], "lost_share": slower, "more_cpu_share": dearer}]


def rate_after(times: Sequence[float], begins: float) -> float:
    """Return answers a second from the last one before a moment to the last of all, by their times in order."""
    first = max(i for i, one in enumerate(times) if one <= begins)
    if times[-1] == times[first]:
        raise LinkError("the server has answered too little: give it longer rounds (--serve-s)")
    return (len(times) - 1 - first) / (times[-1] - times[first])


def lost(less: Sequence[float], more: Sequence[float]) -> list[float]:
    """Return by which share the one is less than the other, the median over pairs, and its interval's ends."""
    shares = [1 - a / b for a, b in zip(less, more, strict=True)]
    draw = random.Random(0)
    medians = sorted(median(draw.choices(shares, k=len(shares))) for _ in range(RESAMPLES))
    return [median(shares), medians[round(0.025 * RESAMPLES)], medians[round(0.975 * RESAMPLES) - 1]]


def _busy_s(process: psutil.Process) -> float:
    used = process.cpu_times()
    return float(used.user + used.system)


async def _at_the_limit(
    server: str, digest: str, frames: Sequence[Frame], credentials: Credentials | None, seconds: float
) -> list[float]:
    """Return when a server answered that always has some frames, in order."""
    ends = time.monotonic() + WARM_UP_S + seconds
    sessions = (
        _session(server, OpenSession(f"device-{n}", digest), frames, credentials, ends) for n in range(SESSIONS)
    )
    times = sorted(itertools.chain.from_iterable(await asyncio.gather(*sessions)))
    if not times:
        raise LinkError("the server has answered nothing: give it longer rounds (--serve-s)")
    return times


async def _session(
    server: str,
    opening: OpenSession,
    frames: Sequence[Frame],
    credentials: Credentials | None,
    ends: float,
) -> list[float]:
    """Keep some frames in flight; return when each was answered by detections."""
    numbered = (replace(frame, frame_id=n) for n, frame in enumerate(itertools.cycle(frames), start=1))
    times = []
    async with open_session(server, opening, timeout_s=30.0, credentials=credentials) as session:
        for frame in itertools.islice(numbered, IN_FLIGHT):
            session.send(frame)
        with suppress(StopAsyncIteration):
            while time.monotonic() < ends:
                reply = await anext(session.replies())
                now = time.monotonic()
                if isinstance(reply, FrameDetections | FrameError):
                    if isinstance(reply, FrameDetections):
                        times.append(now)
                    session.send(next(numbered))
    return times
