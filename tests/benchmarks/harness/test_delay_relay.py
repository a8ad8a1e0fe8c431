"""The relay over real sockets: the same bytes in their order, later, and no more of them in flight than it may hold."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import psutil
import pytest

from benchmarks.harness.delay_relay import READ_BYTES, DelayRelay, RelaySettings, main
from benchmarks.harness.processes import address_of, child_process
from splitnet.errors import ConfigError, ListenError
from tests.support.virtual_time import in_virtual_time

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
PATIENCE_S = 20.0


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def relayed(handler: Handler = echo, **settings: float) -> AsyncIterator[tuple[Streams, DelayRelay]]:
    """Yield a connection through a relay to a server that does as the handler says."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    relay = DelayRelay(RelaySettings(server.sockets[0].getsockname()[:2], **settings))
    reader, writer = await asyncio.open_connection(*relay.start(("127.0.0.1", 0)))
    try:
        yield (reader, writer), relay
    finally:
        writer.close()
        await relay.stop()
        server.close()
        await server.wait_closed()


def seconds() -> float:
    return asyncio.get_running_loop().time()


async def within_patience(awaitable):
    return await asyncio.wait_for(awaitable, PATIENCE_S)


@in_virtual_time
async def test_bytes_come_back_as_they_went_in_their_order_and_the_end_as_well():
    sent = bytes(range(256)) * 4000
    async with relayed(delay_s=0.005) as ((reader, writer), _):
        writer.write(sent)
        writer.write_eof()
        assert await within_patience(reader.read(-1)) == sent


@in_virtual_time
async def test_each_direction_adds_the_delay():
    async with relayed(delay_s=0.1) as ((reader, writer), _):
        writer.write(b"ping")
        assert await within_patience(reader.readexactly(4)) == b"ping"
        assert seconds() == pytest.approx(0.2)


@in_virtual_time
async def test_the_delay_does_not_limit_the_rate():
    async with relayed(delay_s=0.05) as ((reader, writer), _):
        writer.write(bytes(2_000_000))
        await within_patience(reader.readexactly(2_000_000))
        assert seconds() <= 0.5  # twice what each direction may hold; one chunk at a time would take twelve


@in_virtual_time
async def test_a_receiver_that_does_not_read_stops_the_sender():
    release = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    async with relayed(deaf, delay_s=0.01, buffer_bytes=2 * READ_BYTES) as ((_, writer), _):
        writer.transport.set_write_buffer_limits(high=0)
        sending = asyncio.create_task(_send_for_ever(writer))
        assert not (await asyncio.wait({sending}, timeout=10.0))[0]
        release.set()
        with pytest.raises(ConnectionError):
            await within_patience(sending)


async def _send_for_ever(writer: asyncio.StreamWriter) -> None:
    while True:  # the kernel's buffers take some megabytes; then the relay must have stopped to read
        writer.write(bytes(1 << 16))
        await writer.drain()


@in_virtual_time
async def test_the_rate_upward_is_what_was_asked_for_and_downward_there_is_none():
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(100_000)
        writer.write(bytes(1_000_000))
        await reader.read()
        writer.close()

    async with relayed(answer, rate_bps=1e6) as ((reader, writer), _):
        writer.write(bytes(100_000))
        await within_patience(reader.readexactly(1))
        assert seconds() == pytest.approx(0.8, rel=0.02)  # a chunk passes at once
        await within_patience(reader.readexactly(999_999))
        assert seconds() == pytest.approx(0.8, rel=0.02)


async def test_a_queue_in_front_of_a_slow_link_does_not_hide_it_from_the_sender():
    async with relayed(rate_bps=0.0, queue_bytes=8_000) as ((_, writer), _):
        sender = writer.transport.get_extra_info("socket")
        taken = await asyncio.to_thread(_fill, sender.dup())
        assert taken < 400_000 + sender.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


def _fill(sender: socket.socket) -> int:
    """Send until nothing has been taken for a while; returns the bytes taken."""
    taken = 0
    with sender:
        sender.settimeout(0.3)
        try:
            while True:
                taken += sender.send(bytes(4096))
        except TimeoutError:
            return taken


@in_virtual_time
async def test_an_outage_ends_when_there_is_a_rate_again():
    async with relayed(rate_bps=0.0) as ((reader, writer), relay):
        writer.write(bytes(5000))
        first = asyncio.create_task(reader.readexactly(5000))
        assert not (await asyncio.wait({first}, timeout=60.0))[0]
        relay.set_rate(10e6)
        await within_patience(first)


async def test_a_target_that_is_not_there_closes_the_connection():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()
    relay = DelayRelay(RelaySettings(nobody))
    reader, writer = await asyncio.open_connection(*relay.start(("127.0.0.1", 0)))
    assert await within_patience(reader.read()) == b""
    writer.close()
    await relay.stop()


async def test_a_target_that_dies_closes_the_connection():
    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.transport.abort()

    async with relayed(die) as ((reader, writer), _):
        writer.write(b"x")
        with pytest.raises(asyncio.IncompleteReadError):
            await within_patience(reader.readexactly(1))


async def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="cannot be negative"):
        RelaySettings(("127.0.0.1", 1), delay_s=-1)
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ListenError, match="cannot listen"),
    ):
        DelayRelay(RelaySettings(("127.0.0.1", 1))).start(taken.getsockname())


# The command.


def test_the_command_says_where_it_listens_and_takes_rates_on_stdin(tmp_path):
    log = tmp_path / "relay.log"
    with socket.create_server(("127.0.0.1", 0)) as server, log.open("w") as stderr:
        target = f"127.0.0.1:{server.getsockname()[1]}"
        command = ["benchmarks.harness.delay_relay", "--to", target, "--mbps", "0", "--delay-ms", "1"]
        with child_process(command, subprocess.PIPE, stderr, stdin=subprocess.PIPE) as relay:
            host, port = address_of(relay, "relay", log, PATIENCE_S).split(":")
            with socket.create_connection((host, int(port))) as sender, server.accept()[0] as receiver:
                receiver.settimeout(PATIENCE_S)
                sender.sendall(bytes(10_000))
                relay.stdin.write("fast\n5\n")
                relay.stdin.flush()
                received = 0
                while received < 10_000:
                    received += len(receiver.recv(1 << 16))
    assert log.read_text() == "delay-relay: 'fast' is no rate in Mbps\n"


def test_the_command_says_what_is_wrong_in_a_line(capsys):
    assert main(["--to", "127.0.0.1:1", "--delay-ms", "-5"]) == 2
    assert capsys.readouterr().err.startswith("delay-relay: delay and rate cannot be negative")
    with pytest.raises(SystemExit):
        main(["--to", "nowhere"])
    assert "must be HOST:PORT" in capsys.readouterr().err


def test_the_command_ends_with_its_parent(tmp_path):
    parent = (
        "import subprocess, sys; relay = subprocess.Popen([sys.executable, '-m', 'benchmarks.harness.delay_relay',"
        " '--to',"
        " '127.0.0.1:1'], stdout=subprocess.PIPE); relay.stdout.readline(); print(relay.pid, flush=True); input()"
    )
    with child_process(["timeit", "-n1", "-r1", parent], subprocess.PIPE, stdin=subprocess.PIPE) as child:
        relay = psutil.Process(int(child.stdout.readline()))
        child.kill()
    assert not psutil.wait_procs([relay], timeout=60)[1]
