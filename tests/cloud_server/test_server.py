"""The daemon's life: it says when it is ready, drains when told, and refuses clearly what it cannot do."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from cloud_server import daemon as daemon_module
from cloud_server import server as server_module
from cloud_server.__main__ import main
from cloud_server.config import ServeConfig
from cloud_server.daemon import _refresh_when_told, serve
from cloud_server.engine import Engine
from cloud_server.last_moment import LAST_S
from cloud_server.registry import Changes, Registry
from cloud_server.server import SERVICE_NAME, Server
from cloud_server.signals import EarlySignals, as_events
from protos.split_inference_pb2_grpc import SplitInferenceStub
from splitnet.bundle import load_device
from splitnet.errors import BundleError, ListenError
from splitnet.letterbox import Letterbox
from splitnet.messages import (
    Ack,
    Draining,
    Frame,
    FrameDetections,
    FrameError,
    OpenSession,
    Reply,
    SessionOpened,
)
from splitnet.operating_point import Codec, OperatingPoint
from splitnet.wire.sessions import reply_from_proto, request_to_proto
from tests.conftest import PROJECT
from tests.support.fake_model import DIGEST, FakeModel, frame
from tests.support.tiny_bundle import INPUT_SIZE, WIDTHS, write_tiny_bundle

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
READY = re.compile(r"cloud-server ready: listening on (\S+:\d+), bundle (\S+) \(([0-9a-f]{12})\), device cpu\n")


def registry_of(engine: Engine[bytes], model: FakeModel) -> Registry[bytes]:
    """Return a registry that finds one bundle, and a fake model in it."""
    folder = Path(tempfile.mkdtemp())
    write_tiny_bundle(folder)
    return Registry(engine, [folder], lambda _: model)


@asynccontextmanager
async def started(model: FakeModel) -> AsyncIterator[tuple[Server, str]]:
    """Start a server; the test stops it."""
    engine: Engine[bytes] = Engine(8, 64)
    server = Server(engine, registry_of(engine, model), "127.0.0.1:0")
    address = await server.start()
    try:
        yield server, address
    finally:
        model.gate.set()


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[grpc.aio.Channel]:
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield channel


async def open_session(channel: grpc.aio.Channel, digest: str = DIGEST) -> grpc.aio.StreamStreamCall:
    call = SplitInferenceStub(channel).Detect()
    await call.write(request_to_proto(OpenSession("camera-1", digest)))
    assert isinstance(await receive(call), SessionOpened)
    return call


async def receive(call: grpc.aio.StreamStreamCall) -> Reply:
    return reply_from_proto(await asyncio.wait_for(call.read(), timeout=20))


async def stop(server: Server, grace_s: float = 10.0) -> bool:
    return await asyncio.wait_for(server.stop(grace_s, asyncio.Event()), timeout=20)


async def test_health_says_serving_once_started():
    async with started(FakeModel()) as (server, address), connected(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE_NAME):
            reply = await stub.Check(health_pb2.HealthCheckRequest(service=name))
            assert reply.status == SERVING
        await stop(server)


async def test_reflection_in_both_versions_lists_the_services_and_describes_each():
    async with started(FakeModel()) as (server, address), connected(address) as channel:
        for version in ("v1", "v1alpha"):
            ask = channel.stream_stream(
                f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
                request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
                response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
            )
            (listed,) = [reply async for reply in ask(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))]
            names = [service.name for service in listed.list_services_response.service]
            assert sorted(names) == [
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
                SERVICE_NAME,
            ]
            wanted = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in names]
            async for reply in ask(iter(wanted)):
                assert reply.file_descriptor_response.file_descriptor_proto
        await stop(server)


async def test_more_calls_than_allowed_are_refused():
    model = FakeModel()
    engine: Engine[bytes] = Engine(8, 64)
    server = Server(engine, registry_of(engine, model), "127.0.0.1:0", max_calls=2)
    address = await server.start()
    async with connected(address) as channel:
        sessions = [await open_session(channel) for _ in range(2)]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await open_session(channel)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await sessions[0].done_writing()
        assert await asyncio.wait_for(sessions[0].read(), 10) is grpc.aio.EOF
        await open_session(channel)
        await stop(server, grace_s=0.0)


async def test_a_taken_port_is_refused_and_leaves_no_thread_behind():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        engine: Engine[bytes] = Engine(1, 1)
        server = Server(engine, registry_of(engine, FakeModel()), f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ListenError, match="the port is taken"):
            await server.start()
    assert not any(thread.is_alive() for thread in engine._threads)


async def test_a_drain_goes_step_by_step_and_loses_no_frame():
    model = FakeModel()
    async with started(model) as (server, address), connected(address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE_NAME))
        assert (await watch.read()).status == SERVING
        session = await open_session(channel)
        model.gate.clear()
        await session.write(request_to_proto(frame(1)))
        assert isinstance(await receive(session), Ack)

        stopping = asyncio.create_task(stop(server))
        assert (await asyncio.wait_for(watch.read(), 10)).status == NOT_SERVING
        assert await receive(session) == Draining(10_000)
        with pytest.raises(grpc.aio.AioRpcError, match="shutting down: use another one"):
            await open_session(channel)
        await session.write(request_to_proto(frame(2)))  # was on its way when the notice came
        assert isinstance(await receive(session), Ack)
        model.gate.set()
        for number in (1, 2):
            answer = await receive(session)
            assert isinstance(answer, FrameDetections) and answer.frame_id == number
        assert not stopping.done()  # it waits for the device to hang up
        await session.done_writing()
        assert await asyncio.wait_for(session.read(), 10) is grpc.aio.EOF
        assert await stopping is True
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address.split(":"))


async def test_a_session_that_does_not_end_is_cut_after_the_grace():
    async with started(FakeModel()) as (server, address), connected(address) as channel:
        session = await open_session(channel)
        assert await stop(server, grace_s=0.0) is False
        assert await receive(session) == Draining(0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await receive(session)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_force_ends_a_drain_at_once():
    async with started(FakeModel()) as (server, address), connected(address) as channel:
        session = await open_session(channel)
        force = asyncio.Event()
        stopping = asyncio.create_task(server.stop(3600, force))
        assert await receive(session) == Draining(3_600_000)
        force.set()
        assert await asyncio.wait_for(stopping, timeout=10) is False


async def test_a_batch_that_hangs_does_not_hold_up_the_shutdown(monkeypatch):
    monkeypatch.setattr(server_module, "NOTICE_S", 0.01)
    model = FakeModel()
    async with started(model) as (server, address), connected(address) as channel:
        session = await open_session(channel)
        model.gate.clear()
        await session.write(request_to_proto(frame(1)))
        assert await asyncio.to_thread(model.entered.wait, 10)
        assert await stop(server, grace_s=0.0) is False
        assert any(thread.name == "engine" for thread in threading.enumerate())  # it still hangs


async def test_a_transport_that_hangs_does_not_hold_up_the_shutdown(monkeypatch):
    monkeypatch.setattr(server_module, "NOTICE_S", 0.01)
    async with started(FakeModel()) as (server, _):
        grpc_server, forever = server._grpc, asyncio.Event()

        class Hanging:
            async def stop(self, _: float) -> None:
                await forever.wait()

        server._grpc = Hanging()
        assert await stop(server) is True
        await grpc_server.stop(None)


def test_a_process_that_was_told_to_end_ends_whatever_it_does():
    """It sleeps, in a library that keeps Python's lock."""
    program = "from cloud_server.last_moment import end_within; end_within(0.05); import ctypes; "
    program += "ctypes.PyDLL(None).usleep(900_000_000)"
    ran = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", "")


async def test_a_health_watcher_does_not_hold_up_the_shutdown():
    async with started(FakeModel()) as (server, address), connected(address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        assert await stop(server, grace_s=3600) is True


async def test_a_signal_during_the_start_ends_it_without_serving(tiny_bundle, monkeypatch):
    released, announced, ends = threading.Event(), [], []

    def load(folder: Path) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        assert released.wait(20)
        raise BundleError("nobody waits for this any more")

    monkeypatch.setattr(daemon_module, "load_server", load)
    config = ServeConfig(bundle=[tiny_bundle], listen="127.0.0.1:0", device="cpu", no_tune=True)
    assert await asyncio.wait_for(serve(config, announced.append, EarlySignals(), ends.append), timeout=20) is True
    assert ends == [LAST_S]
    assert announced == [] and not released.is_set()  # what it was loading was not waited for
    released.set()


async def test_a_sighup_of_the_first_seconds_is_heeded_once_there_is_a_loop():
    early = EarlySignals()
    early._remember(signal.SIGHUP, None)
    with as_events(early) as signals:
        assert signals.refresh.is_set() and not signals.stop.is_set()


AT_IMPORT = """
import os, signal, sys
class AtImport:  # of the first library that takes seconds
    def find_spec(self, name, path, target=None):
        if name == "torch":
            os.kill(os.getpid(), signal.{number})
            sys.exit(7)  # as far as it gets
sys.meta_path.insert(0, AtImport())
from cloud_server.__main__ import main
main(["serve"])
"""


@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 0), ("SIGINT", 0), ("SIGHUP", 7)])
def test_a_signal_while_libraries_are_imported_ends_it_at_once_or_is_kept(number, code):
    command = [sys.executable, "-c", AT_IMPORT.format(number=number)]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (code, "", "")


async def test_an_unexpected_failure_is_logged_and_the_next_sighup_is_heeded(caplog):
    outcomes = [RuntimeError("a bug of ours"), Changes((), (), ())]
    told, refreshed = asyncio.Event(), asyncio.Event()

    class Refreshed:
        memory_mb = None  # of no bundle

        async def refresh(self) -> Changes:
            outcome = outcomes.pop(0)
            if isinstance(outcome, Exception):
                told.set()  # the next signal
                raise outcome
            refreshed.set()
            return outcome

    told.set()
    refreshing = asyncio.create_task(_refresh_when_told(Refreshed(), told, lambda: None))
    await asyncio.wait_for(refreshed.wait(), timeout=10)
    refreshing.cancel()
    assert "RuntimeError: a bug of ours" in caplog.text


@asynccontextmanager
async def daemon(bundle: Path, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    command = [sys.executable, "-m", "cloud_server", "serve", "--bundle", str(bundle)]
    process = await asyncio.create_subprocess_exec(
        *command,
        *("--listen", "127.0.0.1:0", "--device", "cpu", "--threads", "1", "--no-tune", *options),
        cwd=PROJECT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def ready(process: asyncio.subprocess.Process) -> re.Match[str]:
    line = (await asyncio.wait_for(process.stdout.readline(), timeout=180)).decode()
    match = READY.fullmatch(line)
    assert match, f"not a readiness line: {line!r}"
    return match


async def test_the_daemon_serves_real_frames_and_ends_cleanly_on_sigterm(tiny_bundle, photo):
    device = load_device(tiny_bundle)
    point = OperatingPoint(Codec.RANS, WIDTHS, 0)
    canvas = Letterbox.fit(640, 480, INPUT_SIZE).apply(photo)
    payload = device.codec.compress(device.encoder.encode(canvas, WIDTHS, 0), WIDTHS, 0)
    async with daemon(tiny_bundle) as process:
        address, name, digest = (await ready(process)).groups()
        assert (name, digest) == (device.manifest.name, device.manifest.digest[:12])
        async with connected(address) as channel:
            session = await open_session(channel, device.manifest.digest)
            await session.write(request_to_proto(Frame(1, 42, point, payload, 640, 480)))
            assert isinstance(await receive(session), Ack)
            answer = await receive(session)
            assert isinstance(answer, FrameDetections) and answer.capture_time_us == 42
            assert answer.timing.infer_ms > 0 and np.isfinite(answer.detections.boxes).all()
            process.send_signal(signal.SIGTERM)
            assert await receive(session) == Draining(5000)
            await session.done_writing()
            assert await asyncio.wait_for(process.wait(), timeout=20) == 0
        log = [json.loads(line) for line in (await process.stderr.read()).splitlines()]
    assert [entry["event"] for entry in log] == [*("ready", "session opened", "draining", "session closed", "stopped")]
    assert 0 < log[0]["memory_mb"][f"{name} ({digest})"] < 20
    assert log[-1]["batch_sizes"] == {"1": 1}


async def test_sighup_loads_what_is_new_and_retires_what_is_gone_without_dropping_a_session(tmp_path):
    first = write_tiny_bundle(tmp_path / "1", seed=1)
    async with daemon(tmp_path) as process:
        address = (await ready(process))[1]
        async with connected(address) as channel:
            session = await open_session(channel, first.digest)
            second = write_tiny_bundle(tmp_path / "2", seed=2)
            shutil.rmtree(tmp_path / "1")
            process.send_signal(signal.SIGHUP)
            refreshed = await logged(process, "bundles refreshed")
            assert refreshed["loaded"] == [f"tiny-2 ({second.digest[:12]})"]
            assert refreshed["retired"] == [f"tiny-1 ({first.digest[:12]})"]
            await session.write(request_to_proto(frame(1)))
            assert [type(await receive(session)) for _ in range(2)] == [Ack, FrameError]  # no bitstream, but served
            newer = await open_session(channel, second.digest)
            with pytest.raises(grpc.aio.AioRpcError, match="give both the same bundle"):
                await open_session(channel, first.digest)
            (tmp_path / "2" / "manifest.json").write_text("{")
            process.send_signal(signal.SIGHUP)
            (why,) = (await logged(process, "bundles refreshed"))["refused"]
            assert "manifest.json" in why
            await (await open_session(channel, second.digest)).done_writing()  # the old one goes on
            for one in (session, newer):
                await one.done_writing()
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), timeout=20) == 0


async def logged(process: asyncio.subprocess.Process, event: str) -> dict[str, Any]:
    """Return the next log entry with an event."""
    while True:
        entry = json.loads(await asyncio.wait_for(process.stderr.readline(), timeout=60))
        if entry["event"] == event:
            return entry


async def test_a_second_signal_forces_the_daemon_to_end(tiny_bundle):
    async with daemon(tiny_bundle, "--drain-grace-s", "3600") as process:
        address = (await ready(process))[1]
        async with connected(address) as channel:
            session = await open_session(channel, load_device(tiny_bundle).manifest.digest)
            process.send_signal(signal.SIGINT)
            assert await receive(session) == Draining(3_600_000)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), timeout=20) == 1


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must fail; returns the one line it says."""
    assert main(list(words)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("cloud-server: ")
    return line


def test_a_missing_bundle_is_one_line_and_exit_code_2(capsys, tmp_path):
    assert "is not a bundle" in complaint(capsys, "serve", "--bundle", str(tmp_path / "nowhere"))


def test_a_half_copied_bundle_is_one_line_and_exit_code_2(capsys, tiny_bundle, tmp_path):
    copy = shutil.copytree(tiny_bundle, tmp_path / "copy")
    weights = copy / "server.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "half copied" in complaint(capsys, "serve", "--bundle", str(copy))


def test_a_bundle_with_other_weights_is_one_line_and_exit_code_2(capsys, tiny_bundle, tmp_path):
    copy = shutil.copytree(tiny_bundle, tmp_path / "copy")
    weights = copy / "server.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert "SHA-256" in complaint(capsys, "serve", "--bundle", str(copy))


def test_a_taken_port_is_one_line_and_exit_code_2(capsys, tiny_bundle):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = complaint(capsys, "serve", "--bundle", str(tiny_bundle), "--listen", address, "--no-tune")
    assert f"cannot listen on {address}" in said


@pytest.mark.parametrize(
    "words",
    [("--listen", "50051"), ("--listen", "localhost:99999"), ("--max-queue", "0"), ("--threads", "-1")],
    ids=" ".join,
)
def test_a_setting_out_of_range_is_one_line_and_exit_code_2(capsys, words):
    assert words[0] in complaint(capsys, "serve", *words)
