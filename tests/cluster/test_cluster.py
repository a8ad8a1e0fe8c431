"""A daemon whose bundles real replicas compute: what they answer, and what becomes of it when parts of Ray die.

`make test-cluster` installs Ray and runs these.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from benchmarks.harness.processes import ServerProcess, server_process
from cloud_server.compute.bundle_model import BundleModel
from cloud_server.compute.tuning import UNMEASURED
from edge_client.transport.session import Session, open_session
from splitnet.bundle import load_device, load_server
from splitnet.detections import Detections
from splitnet.letterbox import Letterbox
from splitnet.messages import Frame, FrameDetections, FrameError, OpenSession
from splitnet.operating_point import Codec, Mode, OperatingPoint
from tests.support.tiny_bundle import INPUT_SIZE, WIDTHS

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: make test-cluster"),
]
POINT = OperatingPoint(Codec.RANS, WIDTHS, 1)
REPLICA = "ServeReplica"
READY_S = 600.0
PAUSE_S = 0.05


@dataclass
class Site:
    """A daemon with two replicas, and a frame for it."""

    server: ServerProcess
    digest: str
    payload: bytes
    expected: Detections
    log: Path
    answers: list[FrameDetections | FrameError] = field(default_factory=list)

    def processes(self, name: str) -> list[psutil.Process]:
        """Return the processes below the daemon whose title or command has a word."""
        below = psutil.Process(self.server.process.pid).children(recursive=True)
        return [one for one in below if name in _title(one)]

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        async with open_session(self.server.address, OpenSession("device", self.digest), timeout_s=30.0) as session:
            yield session

    def frame(self, number: int, deadline_ms: int = 0) -> Frame:
        return Frame(number, 0, POINT, self.payload, 640, 480, deadline_ms)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@pytest.fixture(scope="module")
def site(tiny_bundle: Path, photo: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    device = load_device(tiny_bundle)
    canvas = Letterbox.fit(640, 480, INPUT_SIZE).apply(photo)
    payload = device.codec.compress(device.encoder.encode(canvas, WIDTHS, 1), WIDTHS, 1)
    own = BundleModel(load_server(tiny_bundle), torch.device("cpu"), replace(UNMEASURED, threads=1))
    own.prepare()
    decoded = own.decode(Frame(1, 0, POINT, payload, 640, 480, 0))
    (expected,) = own.infer(Mode.SPLIT, [decoded])
    log = tmp_path_factory.mktemp("cluster") / "log"
    options = ["--no-tune", "--cluster", "--cluster-replicas", "2", "--threads", "1"]
    with server_process(tiny_bundle, log, *options) as server:
        site = Site(server, device.manifest.digest, payload, expected, log)
        until(lambda: len(site.processes(REPLICA)) == 2)
        yield site


def until(is_so: Callable[[], bool], timeout_s: float = READY_S) -> None:
    """Wait for what other processes do in their own time."""
    give_up_at = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < give_up_at
        time.sleep(PAUSE_S)


async def answered(session: Session, site: Site, number: int) -> FrameDetections | FrameError:
    session.send(site.frame(number))
    async for reply in session.replies():
        if isinstance(reply, FrameDetections | FrameError) and reply.frame_id == number:
            return reply
    raise AssertionError("the session has ended")


async def until_answered(session: Session, site: Site, first: int) -> int:
    """Send frame after frame until one is answered by detections; returns how many were lost before."""
    for lost in range(100):
        if isinstance(await answered(session, site, first + lost), FrameDetections):
            return lost
        await asyncio.sleep(PAUSE_S)
    raise AssertionError("no frame was answered")


async def test_replicas_answer_as_the_daemon_itself_bit_for_bit(site):
    async with site.session() as session:
        answer = await answered(session, site, 1)
    assert isinstance(answer, FrameDetections)
    np.testing.assert_array_equal(answer.detections.boxes, site.expected.boxes)
    np.testing.assert_array_equal(answer.detections.scores, site.expected.scores)


async def test_a_replica_that_is_killed_loses_at_most_its_batch_and_is_replaced(site):
    async with site.session() as session:
        killed = site.processes(REPLICA)[0]
        killed.kill()
        assert await until_answered(session, site, 100) <= 2
        until(lambda: len([one for one in site.processes(REPLICA) if one.pid != killed.pid]) == 2)
        assert await until_answered(session, site, 300) == 0


async def test_a_replica_that_halts_is_passed_over(site):
    async with site.session() as session:
        halted = site.processes(REPLICA)[0]
        halted.send_signal(signal.SIGSTOP)
        try:
            for first in range(1000, 5000, 1000):
                assert await until_answered(session, site, first) <= 4
        finally:
            if halted.is_running():
                halted.send_signal(signal.SIGCONT)
        until(lambda: len(site.processes(REPLICA)) >= 2)


async def test_when_the_head_is_killed_streams_stay_open_and_the_daemon_computes_itself(site):
    async with site.session() as session:
        (head,) = site.processes("gcs_server")
        head.kill()
        assert await until_answered(session, site, 10_000) <= 4
        for connector in site.processes("cloud_server.cluster.connector"):
            connector.kill()
        assert await until_answered(session, site, 20_000) <= 1
        assert site.server.alive
        until(lambda: len(site.processes(REPLICA)) == 2)  # of the cluster that was made anew
        assert await until_answered(session, site, 30_000) <= 1
    assert "connector has ended" in site.log.read_text()
