"""Whatever happens to its neighbours, the daemon lives and serves the others. Real processes and sockets."""

from __future__ import annotations

import asyncio
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from grpc._cython import cygrpc

from benchmarks.adaptation.namespaces import EDGE_ADDRESS, INTERFACE, available, namespace_pair, run_tool
from benchmarks.harness.processes import PROJECT, Process, child_process, server_process
from cloud_server.ports import SERVER_OPTIONS
from edge_client.transport.channel import CHANNEL_OPTIONS
from edge_client.transport.session import open_session
from protos import split_inference_pb2 as pb
from protos.split_inference_pb2_grpc import SplitInferenceStub
from splitnet.bundle import load_device
from splitnet.errors import LinkError
from splitnet.manifest import FILE_NAME
from splitnet.messages import (
    MAX_DEADLINE_MS,
    Frame,
    FrameDetections,
    FrameError,
    InferRequest,
    OpenSession,
)
from splitnet.wire.sessions import infer_request_to_proto, request_to_proto
from tests.end_to_end.streaming_device import FRAME_SIZE, POINT
from tests.support.tiny_bundle import CHANNELS

PATIENCE_S = 240.0  # for what takes seconds on an idle machine: nothing here measures speed
POLL_S = 0.02
FLOOD = 120  # frames
UNREAD_WINDOW = 65_535  # bytes, of HTTP/2
UNREAD_LIMIT = 4000  # frames, 64 MB: many times what fits into windows and buffers
GROWTH_MB = 40.0
STALLED_S = 1.0
REFUSED = pb.DetectRequest(frame=pb.Frame(frame_id=1, payload=bytes(16_384), deadline_ms=MAX_DEADLINE_MS + 1))
DROP_ALL = "tbf rate 8bit burst 10 limit 1"  # no packet fits


@dataclass(frozen=True)
class Daemon:
    """A `cloud-server` in a process of its own."""

    address: str
    process: Process
    log: Path
    bundle: Path
    digest: str
    frame: Frame  # that it detects objects in

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Return what the log says of the events whose name begins so."""
        lines = [line for line in self.log.read_text().splitlines(keepends=True) if line.endswith("}\n")]
        return [entry for entry in map(json.loads, lines) if entry["event"].startswith(event)]

    def closed(self, name: str) -> dict[str, Any] | None:
        """Return what the log says of the end of a device's session; None while it lasts."""
        return next((entry for entry in self.logged("session closed") if entry["device"] == name), None)


@contextmanager
def running(bundle: Path, *options: str, namespace: str | None = None) -> Iterator[Daemon]:
    device = load_device(bundle)
    payload = device.codec.compress(np.ones((CHANNELS, 3, 4), np.int16), POINT.width, POINT.quality)
    frame = Frame(1, 0, POINT, payload, *FRAME_SIZE)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        settings = ("--threads", "1", "--no-tune", "--max-batch-size", "2", *options)
        with server_process(bundle, log, *settings, patience_s=PATIENCE_S, namespace=namespace) as server:
            yield Daemon(server.address, server.process, log, bundle, device.manifest.digest, frame)


@pytest.fixture(scope="module")
def daemon(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Yield a daemon that every test here finds and leaves alive, with a bundle of its own."""
    with running(Path(shutil.copytree(tiny_bundle, tmp_path_factory.mktemp("chaos") / "tiny"))) as daemon:
        yield daemon


class Device:
    """A session that is asked for one thing at a time."""

    def __init__(self, session: Any, frame: Frame) -> None:
        self.session = session
        self._frame = frame
        self._ids = count(1)
        self._replies = session.replies()

    async def ask(self, **changes: Any) -> FrameDetections | FrameError:
        """Send a frame and return its answer."""
        frame = replace(self._frame, frame_id=next(self._ids), **changes)
        self.session.send(frame)
        while True:
            reply = await asyncio.wait_for(anext(self._replies), PATIENCE_S)
            if isinstance(reply, FrameDetections | FrameError) and reply.frame_id == frame.frame_id:
                return reply

    async def answers(self, wanted: int) -> list[FrameDetections | FrameError]:
        """Return so many answers to frames that were sent."""
        found: list[FrameDetections | FrameError] = []
        while len(found) < wanted:
            reply = await asyncio.wait_for(anext(self._replies), PATIENCE_S)
            found += [reply] if isinstance(reply, FrameDetections | FrameError) else []
        return found


@asynccontextmanager
async def device(daemon: Daemon, name: str) -> AsyncIterator[Device]:
    async with open_session(daemon.address, OpenSession(name, daemon.digest), timeout_s=PATIENCE_S) as session:
        yield Device(session, daemon.frame)


@contextmanager
def streaming(daemon: Daemon, name: str, namespace: str | None = None) -> Iterator[Process]:
    """Run a device in a process of its own until the block ends; it has got an answer when the block begins."""
    command = ["tests.end_to_end.streaming_device", daemon.address, name, daemon.digest]
    with child_process(command, subprocess.PIPE, stdin=subprocess.PIPE, namespace=namespace) as process:
        assert process.stdin is not None
        process.stdin.buffer.write(daemon.frame.payload)
        process.stdin.close()
        wait_for_an_answer(process)
        yield process


def wait_for_an_answer(process: Process) -> None:
    """Wait until a streaming device gets one more answer than it has by now."""
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    while select.select([pipe], [], [], 0.0)[0]:
        assert os.read(pipe, 1 << 16), "the device has ended"
    assert select.select([pipe], [], [], PATIENCE_S)[0], "the device gets no answers"
    assert os.read(pipe, 1 << 16), "the device has ended"


async def until(condition: Callable[[], object]) -> None:
    """Wait for what another process does."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "this never came true"
        await asyncio.sleep(POLL_S)


def memory_mb(process: Process) -> float:
    return psutil.Process(process.pid).memory_info().rss / 1e6


# Death.


async def test_a_client_killed_in_mid_stream_is_forgotten_and_the_others_go_on(daemon):
    async with device(daemon, "survivor") as survivor:
        with streaming(daemon, "victim") as victim:
            victim.kill()
            assert isinstance(await survivor.ask(), FrameDetections)
        await until(lambda: daemon.closed("victim"))
        assert isinstance(await survivor.ask(), FrameDetections)


async def test_a_killed_server_is_noticed_by_its_own_clients_only(daemon, tiny_bundle):
    with running(tiny_bundle) as doomed:
        async with device(daemon, "elsewhere") as elsewhere, device(doomed, "bereaved") as bereaved:
            assert isinstance(await bereaved.ask(), FrameDetections)
            doomed.process.kill()
            with pytest.raises(LinkError):
                await bereaved.ask()
            assert isinstance(await elsewhere.ask(), FrameDetections)


async def test_a_second_daemon_on_the_same_port_says_so_and_harms_nobody(daemon, tiny_bundle):
    async with device(daemon, "first come") as first:
        words = ["cloud_server", "serve", "--bundle", str(tiny_bundle), "--listen", daemon.address, "--no-tune"]
        command = [sys.executable, "-m", *words, "--threads", "1", "--max-batch-size", "1", "--log-level", "error"]
        second = await asyncio.create_subprocess_exec(
            *command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        printed, complaint = await asyncio.wait_for(second.communicate(), PATIENCE_S)
        assert (second.returncode, printed) == (2, b"")
        assert complaint.decode().startswith(f"cloud-server: cannot listen on {daemon.address}: the port is taken")
        assert len(complaint.splitlines()) == 1
        assert isinstance(await first.ask(), FrameDetections)


# Garbage.

RECORD = b"\x16\x03\x01"  # of TLS, with a handshake inside
GARBAGE = {
    "random bytes": bytes((i * 73 + 41) % 256 for i in range(4096)),
    "plain HTTP/1.1": b"GET / HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n",
    "a TLS hello": RECORD + b"\x00\xc8\x01\x00\x00\xc4\x03\x03" + bytes(range(196)),
    "an HTTP/2 preface and then no frames": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 600,
    "the beginning of a preface": b"PRI * HT",
    "nothing": b"",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_on_the_port_harms_nobody(daemon, garbage):
    host, _, port = daemon.address.rpartition(":")
    async with device(daemon, "before") as before:
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as stranger:
            stranger.sendall(garbage)
            assert isinstance(await before.ask(), FrameDetections)
        async with device(daemon, "after") as after:
            assert isinstance(await after.ask(), FrameDetections)
    assert daemon.process.poll() is None


async def test_a_stream_of_messages_that_are_none_ends_alone(daemon):
    async with (
        device(daemon, "bystander") as bystander,
        grpc.aio.insecure_channel(daemon.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel,
    ):
        call = channel.stream_stream("/slimsplit.v1.SplitInference/Detect")()
        await call.write(b"\xff" * 100)
        assert await asyncio.wait_for(call.code(), PATIENCE_S) is not grpc.StatusCode.OK
        assert isinstance(await bystander.ask(), FrameDetections)


# Greed.


@pytest.mark.long
async def test_a_client_that_never_reads_is_not_read_either(daemon):
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", UNREAD_WINDOW),
    ]
    async with (
        device(daemon, "reader") as reader,
        grpc.aio.insecure_channel(daemon.address, options=options) as channel,
    ):
        assert isinstance(await reader.ask(), FrameDetections)
        before_mb = memory_mb(daemon.process)
        call = SplitInferenceStub(channel).Detect()
        await call.write(request_to_proto(OpenSession("slow reader", daemon.digest)))
        sent: list[float] = []
        sending = asyncio.create_task(send_refused(call, sent))
        try:
            await until(lambda: sent and time.monotonic() > sent[-1] + STALLED_S)
            assert len(sent) < UNREAD_LIMIT, "the server takes whatever comes, though nobody reads its answers"
            assert isinstance(await reader.ask(), FrameDetections)
            assert memory_mb(daemon.process) < before_mb + GROWTH_MB
        finally:
            sending.cancel()
            call.cancel()
    await until(lambda: daemon.closed("slow reader"))


async def send_refused(call: Any, sent: list[float]) -> None:
    """Send frames that are refused without computing, and note when."""
    while len(sent) < UNREAD_LIMIT:
        await call.write(REFUSED)
        sent.append(time.monotonic())


async def test_a_client_that_floods_is_shed_and_the_others_keep_their_share(daemon):
    async with device(daemon, "polite") as polite, device(daemon, "flooding") as flooding:
        for frame_id in range(FLOOD):  # every second one can only be late
            late = {"deadline_ms": 1} if frame_id % 2 else {}
            flooding.session.send(replace(daemon.frame, frame_id=frame_id, **late))
        asked = [await polite.ask() for _ in range(5)]
        answers = await flooding.answers(FLOOD)
    refused = [answer for answer in answers if isinstance(answer, FrameError)]
    assert all(isinstance(answer, FrameDetections) for answer in asked)
    assert sorted(answer.frame_id for answer in answers) == list(range(FLOOD))
    assert {answer.status for answer in refused} <= {
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
    assert len(refused) >= 1
    await until(lambda: daemon.closed("flooding"))
    end = daemon.closed("flooding")
    assert end is not None
    assert (end["frames"], end["refused"], end["unanswered"]) == (FLOOD, len(refused), 0)


# The bundle.


async def test_a_bundle_damaged_and_then_deleted_under_the_daemon_is_served_on(daemon):
    async with device(daemon, "loyal") as loyal:
        (daemon.bundle / FILE_NAME).write_text("{")
        assert "cannot be read" in (await look_again(daemon))["refused"][0]
        assert isinstance(await loyal.ask(), FrameDetections)
        shutil.rmtree(daemon.bundle)
        assert "going on with the old ones" in (await look_again(daemon))["event"]
        assert isinstance(await loyal.ask(), FrameDetections)
        async with device(daemon, "newcomer") as newcomer:
            assert isinstance(await newcomer.ask(), FrameDetections)


async def look_again(daemon: Daemon) -> dict[str, Any]:
    """Tell a daemon to look at its bundles, and return what it logs of them."""
    before = len(daemon.logged("bundles "))
    daemon.process.send_signal(signal.SIGHUP)
    await until(lambda: len(daemon.logged("bundles ")) > before)
    return daemon.logged("bundles ")[-1]


# Time.


async def test_a_call_whose_deadline_passes_under_way_harms_nobody(daemon):
    request = infer_request_to_proto(InferRequest(daemon.digest, daemon.frame))
    async with grpc.aio.insecure_channel(daemon.address) as channel:
        stub = SplitInferenceStub(channel)
        for timeout_s in (0.0, 1e-4):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Infer(request, timeout=timeout_s)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        answered = await stub.Infer(request, timeout=PATIENCE_S)
    assert answered.detections.frame_id == daemon.frame.frame_id


@pytest.mark.parametrize("capture_time_us", [0, 2**62, 2**64 - 1], ids=["never set", "in the future", "at its end"])
async def test_a_clients_clock_is_only_echoed(daemon, capture_time_us):
    async with device(daemon, "wrong clock") as wrong:
        answer = await wrong.ask(capture_time_us=capture_time_us, deadline_ms=MAX_DEADLINE_MS)
    assert isinstance(answer, FrameDetections)
    assert answer.capture_time_us == capture_time_us


# The link.


@pytest.mark.parametrize("name", sorted({name for name, _ in (*SERVER_OPTIONS, *CHANNEL_OPTIONS)}))
def test_every_option_of_a_link_is_one_that_grpc_knows(name):
    # gRPC ignores others in silence. One that was misspelt once cut idle sessions off after three keepalives.
    assert name.encode() in Path(cygrpc.__file__).read_bytes()


@pytest.mark.skipif(available() is not None, reason=str(available()))
async def test_half_open_connections_are_given_up_and_the_others_go_on(tiny_bundle):
    with (
        namespace_pair() as pair,
        running(tiny_bundle, "--listen", f"{EDGE_ADDRESS}:0", namespace=pair.edge) as daemon,
        streaming(daemon, "neighbour", namespace=pair.edge) as neighbour,
        streaming(daemon, "cut off", namespace=pair.device) as cut_off,
    ):
        for namespace in (pair.device, pair.edge):
            run_tool("tc", "-n", namespace, *f"qdisc replace dev {INTERFACE} root {DROP_ALL}".split())
        os.kill(cut_off.pid, signal.SIGSTOP)  # it cannot hang up by itself: only silence tells the server
        await until(lambda: daemon.closed("cut off"))
        wait_for_an_answer(neighbour)
        os.kill(cut_off.pid, signal.SIGCONT)
