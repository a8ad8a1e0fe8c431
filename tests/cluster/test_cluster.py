"""A daemon whose bundles real replicas compute: what they answer, and what becomes of it when parts of Ray die.

`make test-cluster` installs Ray and runs these.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import re
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
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
from splitnet.manifest import FILE_NAME, load_manifest
from splitnet.messages import Frame, FrameDetections, FrameError, OpenSession
from splitnet.operating_point import Codec, Mode, OperatingPoint
from tests.support.tiny_bundle import INPUT_SIZE, WIDTHS, write_tiny_bundle

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs Ray: make test-cluster"),
]
POINT = OperatingPoint(Codec.RANS, WIDTHS, 1)
REPLICA = "ServeReplica"
READY_S = 600.0
PAUSE_S = 0.05


@dataclass(frozen=True)
class Shot:
    """A bundle, and what it must find in a photograph."""

    bundle: Path
    digest: str
    payload: bytes
    expected: Detections


@dataclass
class Site:
    """A daemon with replicas, and a frame for it."""

    server: ServerProcess
    shot: Shot
    folder: Path  # of the bundle that is served
    log: Path

    def processes(self, name: str) -> list[psutil.Process]:
        """Return the processes below the daemon whose title or command has a word."""
        below = psutil.Process(self.server.process.pid).children(recursive=True)
        return [one for one in below if name in _title(one)]

    @asynccontextmanager
    async def session(self, shot: Shot | None = None) -> AsyncIterator[Session]:
        digest = (shot or self.shot).digest
        async with open_session(self.server.address, OpenSession("device", digest), timeout_s=30.0) as session:
            yield session

    def put(self, shot: Shot) -> None:
        """Copy a bundle over what is served; the manifest comes last."""
        for path in sorted(shot.bundle.iterdir(), key=lambda path: path.name == FILE_NAME):
            shutil.copy(path, self.folder)

    def replica_batches(self) -> float:
        """Return how many batches replicas have answered, as the metrics say."""
        return sum(float(line.split()[-1]) for line in self.metrics("slimsplit_replica_batches_total"))

    def connected(self) -> float:
        """Return how many replicas are sent batches, as the metrics say."""
        return sum(float(line.split()[-1]) for line in self.metrics("slimsplit_cluster_replicas"))

    def metrics(self, name: str) -> list[str]:
        address = re.search(r"http://(\S+?)/", self.log.read_text())
        assert address is not None
        connection = http.client.HTTPConnection(address[1])  # by itself: proxies of the environment are not asked
        connection.request("GET", "/metrics")
        with closing(connection):
            lines = connection.getresponse().read().decode().splitlines()
        return [line for line in lines if line.startswith(name)]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def shot_of(bundle: Path, photo: np.ndarray) -> Shot:
    device = load_device(bundle)
    canvas = Letterbox.fit(640, 480, INPUT_SIZE).apply(photo)
    payload = device.codec.compress(device.encoder.encode(canvas, WIDTHS, 1), WIDTHS, 1)
    own = BundleModel(load_server(bundle), torch.device("cpu"), replace(UNMEASURED, threads=1))
    own.prepare()
    (expected,) = own.infer(Mode.SPLIT, [own.decode(Frame(1, 0, POINT, payload, 640, 480, 0))])
    return Shot(bundle, device.manifest.digest, payload, expected)


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory, photo: np.ndarray) -> list[Shot]:
    """Return two bundles of one name whose weights differ."""
    folders = [tmp_path_factory.mktemp("bundle") for _ in range(2)]
    for seed, folder in enumerate(folders):
        write_tiny_bundle(folder, seed)
        replace(load_manifest(folder), name="tiny").write(folder)
    return [shot_of(folder, photo) for folder in folders]


@contextmanager
def serving(shot: Shot, parent: Path, replicas: int, *options: str) -> Iterator[Site]:
    folder, log = parent / "served", parent / "log"
    shutil.copytree(shot.bundle, folder)
    command = ["--no-tune", "--threads", "1", "--status", "127.0.0.1:0", "--cluster", *options]
    with server_process(folder, log, *command, "--cluster-replicas", str(replicas)) as server:
        site = Site(server, shot, folder, log)
        until(lambda: site.connected() == replicas)
        yield site


@pytest.fixture(scope="module")
def site(shots: list[Shot], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(shots[0], tmp_path_factory.mktemp("cluster"), 2) as site:
        yield site


def until(is_so: Callable[[], bool], timeout_s: float = READY_S) -> None:
    """Wait for what other processes do in their own time."""
    give_up_at = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < give_up_at
        time.sleep(PAUSE_S)


async def answered(session: Session, site: Site, number: int, shot: Shot | None = None) -> FrameDetections | FrameError:
    session.send(Frame(number, 0, POINT, (shot or site.shot).payload, 640, 480, 0))
    async for reply in session.replies():
        if isinstance(reply, FrameDetections | FrameError) and reply.frame_id == number:
            return reply
    raise AssertionError("the session has ended")


def assert_found(answer: FrameDetections | FrameError, shot: Shot) -> None:
    assert isinstance(answer, FrameDetections), answer
    np.testing.assert_array_equal(answer.detections.boxes, shot.expected.boxes)
    np.testing.assert_array_equal(answer.detections.scores, shot.expected.scores)


async def until_answered(session: Session, site: Site, first: int) -> int:
    """Send frame after frame until one is answered by detections; returns how many were lost before."""
    for lost in range(100):
        if isinstance(await answered(session, site, first + lost), FrameDetections):
            return lost
        await asyncio.sleep(PAUSE_S)
    raise AssertionError("no frame was answered")


async def test_replicas_answer_as_the_daemon_itself_bit_for_bit(site):
    before = site.replica_batches()
    async with site.session() as session:
        for number in range(3):
            assert_found(await answered(session, site, number), site.shot)
    assert site.replica_batches() == before + 3


async def test_a_bundle_is_switched_while_frames_are_computed_and_its_replicas_change_with_it(site, shots):
    old, new = shots
    key = f"tiny-{new.digest[:12]}"
    async with site.session() as session:
        site.put(new)
        site.server.process.send_signal(signal.SIGHUP)
        number = 0
        while not site.processes(f"{REPLICA}:{key}"):  # every frame is answered, with what its session began with
            number += 1
            assert_found(await answered(session, site, number), old)
            await asyncio.sleep(PAUSE_S)
        until(lambda: f'"loaded": ["tiny ({new.digest[:12]})"]' in site.log.read_text())
        assert site.connected() == 4
        assert_found(await answered(session, site, number + 1), old)
    site.shot = new
    async with site.session() as session:
        assert_found(await answered(session, site, 1), new)
    until(lambda: not site.processes(f"{REPLICA}:tiny-{old.digest[:12]}"))
    until(lambda: len(site.processes(REPLICA)) == site.connected() == 2)


async def test_a_replica_that_is_killed_loses_at_most_its_batch_and_is_replaced(site):
    async with site.session() as session:
        killed = site.processes(REPLICA)[0]
        killed.kill()
        assert await until_answered(session, site, 100) <= 2
        until(lambda: len(site.processes(REPLICA)) == site.connected() == 2)
        assert await until_answered(session, site, 300) == 0


async def test_a_replica_that_halts_is_noticed_within_four_seconds(site):
    async with site.session() as session:
        halted = site.processes(REPLICA)[0]
        halted.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        try:
            lost, number = 0, 1000
            while time.monotonic() < begun + 8.0:
                number += 1
                is_lost = not isinstance(await answered(session, site, number), FrameDetections)
                lost += is_lost
                assert not is_lost or time.monotonic() < begun + 4.0
            assert lost <= 2  # as many as it has places
        finally:
            if halted.is_running():
                halted.send_signal(signal.SIGCONT)
        until(lambda: len(site.processes(REPLICA)) == site.connected() == 2)


async def test_when_the_head_is_killed_streams_stay_open_and_the_daemon_computes_itself(site):
    async with site.session() as session:
        (head,) = site.processes("gcs_server")
        head.kill()
        assert await until_answered(session, site, 10_000) <= 4
        for connector in site.processes("cloud_server.cluster.connector"):
            connector.kill()
        assert await until_answered(session, site, 20_000) <= 1
        assert site.server.alive
        until(lambda: len(site.processes(REPLICA)) == site.connected() == 2)  # of the cluster that was made anew
        assert await until_answered(session, site, 30_000) <= 1
    assert "connector has ended" in site.log.read_text()


async def test_replicas_follow_the_load_and_those_that_are_there_stay(shots, tmp_path):
    with serving(shots[0], tmp_path, 1, "--cluster-max-replicas", "2") as site:
        first = [one.pid for one in site.processes(REPLICA)]
        async with site.session() as session:
            listening = asyncio.create_task(_listen(session))
            for number in itertools.count(1):
                session.send(Frame(number, 0, POINT, site.shot.payload, 640, 480, 0))
                await asyncio.sleep(0.001)
                if not number % 50 and len(site.processes(REPLICA)) == 2:
                    break
            listening.cancel()
        until(lambda: [one.pid for one in site.processes(REPLICA)] == first)
        async with site.session() as session:
            assert_found(await answered(session, site, 1), site.shot)


async def _listen(session: Session) -> None:
    async for _ in session.replies():
        pass
