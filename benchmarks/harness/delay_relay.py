"""`python -m benchmarks.harness.delay_relay`: forward TCP with a delay in each direction, and at a limited rate upward.

    python -m benchmarks.harness.delay_relay --listen 127.0.0.1:0 --to 127.0.0.1:50051 --delay-ms 20 --mbps 2

prints where it listens. With --mbps, each line on stdin is a new rate in Mbps (0 is an outage). What the link cannot
carry yet waits with the sender: the relay holds what the delay needs, and stops reading when that is full. It ends
with its parent.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass

from benchmarks.harness.token_bucket import CHUNK_BYTES, TokenBucket
from splitnet.errors import ConfigError, ListenError, SplitError

READ_BYTES = 16_384
CHUNK_COST_BYTES = 100  # of a chunk in memory, however small it is
PARENT_CHECK_S = 0.5

Address = tuple[str, int]


@dataclass(frozen=True)
class RelaySettings:
    """What a relay does to the bytes it forwards."""

    to: Address
    delay_s: float = 0.0  # in each direction
    buffer_bytes: int = 1_000_000  # held in each direction; over 20 ms this allows 400 Mbps
    rate_bps: float | None = None  # upward, from whoever connects; None is no limit
    queue_bytes: int = 32_768  # of the kernel in front of the limit: a modem's queue

    def __post_init__(self) -> None:
        """Raise ConfigError if a setting is out of range."""
        if self.delay_s < 0 or self.buffer_bytes < READ_BYTES or self.queue_bytes < 1 or (self.rate_bps or 0) < 0:
            raise ConfigError("delay and rate cannot be negative, and the buffers need 17 KB at least")


class DelayRelay:
    """Listens, and forwards each connection to one of its own."""

    def __init__(self, settings: RelaySettings) -> None:
        self._settings = settings
        self._throttle = None if settings.rate_bps is None else Throttle(settings.rate_bps)
        self._connections: set[asyncio.Task[None]] = set()

    def start(self, listen: Address) -> Address:
        """Listen in the running event loop; returns the address. Raises ListenError."""
        try:
            self._listener = socket.create_server(listen)
        except OSError as error:
            raise ListenError(f"cannot listen on {listen[0]}:{listen[1]} ({error.strerror})") from error
        self._listener.setblocking(False)
        if self._throttle is not None:  # inherited by each connection: what the kernel takes is on the link already
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._settings.queue_bytes // 2)
        self._accepting = asyncio.create_task(self._accept())
        address: Address = self._listener.getsockname()[:2]
        return address

    async def stop(self) -> None:
        """Close everything."""
        self._accepting.cancel()
        await _ended(self._accepting, *self._connections)
        self._listener.close()

    def set_rate(self, rate_bps: float) -> None:
        """Change the rate of all connections together, if there is a limit at all."""
        if self._throttle is not None:
            self._throttle.set_rate(rate_bps)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            near, _ = await loop.sock_accept(self._listener)
            task = asyncio.create_task(self._forward(near))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def _forward(self, near: socket.socket) -> None:
        """Carry both directions of a connection until both have ended, or one has failed."""
        far = socket.socket()
        with near, far, suppress(OSError):  # who is left sees its own connection close
            for end in (near, far):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(far, self._settings.to)
            upward, downward = self._line(), self._line()
            await _together(
                upward.fill(near, self._throttle), upward.empty(far), downward.fill(far, None), downward.empty(near)
            )

    def _line(self) -> DelayLine:
        return DelayLine(self._settings.delay_s, self._settings.buffer_bytes)


class DelayLine:
    """One direction: bytes go in, and come out in their order when their time has come. b"" is the end."""

    def __init__(self, delay_s: float, buffer_bytes: int) -> None:
        self._delay_s = delay_s
        self._buffer_bytes = buffer_bytes
        self._held: deque[tuple[float, bytes]] = deque()  # with the time that each is due
        self._held_bytes = 0
        self._changed = asyncio.Condition()

    async def fill(self, source: socket.socket, throttle: Throttle | None) -> None:
        """Read a socket to its end, no further ahead than the buffer allows."""
        loop = asyncio.get_running_loop()
        chunk = b"begin"
        while chunk:
            async with self._changed:
                await self._changed.wait_for(lambda: self._held_bytes < self._buffer_bytes)
            chunk = await loop.sock_recv(source, READ_BYTES if throttle is None else CHUNK_BYTES)
            if throttle is not None:
                await throttle.carry(len(chunk))
            async with self._changed:
                self._held.append((loop.time() + self._delay_s, chunk))
                self._held_bytes += len(chunk) + CHUNK_COST_BYTES
                self._changed.notify_all()

    async def empty(self, sink: socket.socket) -> None:
        """Write everything to a socket, and end it."""
        loop = asyncio.get_running_loop()
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._held))
            due, chunk = self._held.popleft()
            await asyncio.sleep(due - loop.time())
            if not chunk:
                sink.shutdown(socket.SHUT_WR)
                return
            await loop.sock_sendall(sink, chunk)
            async with self._changed:
                self._held_bytes -= len(chunk) + CHUNK_COST_BYTES
                self._changed.notify_all()


class Throttle:
    """Makes bytes wait until a link of a rate would have carried them."""

    def __init__(self, rate_bps: float) -> None:
        self._now = asyncio.get_running_loop().time
        self._bucket = TokenBucket(self._now(), rate_bps)
        self._changed = asyncio.Event()

    def set_rate(self, rate_bps: float) -> None:
        """Go on at another rate, those who wait already as well."""
        self._bucket.set_rate(self._now(), rate_bps)
        self._changed.set()

    async def carry(self, size_bytes: int) -> None:
        """Return when a chunk has passed the link."""
        while wait_s := self._bucket.wait_s(self._now(), size_bytes):
            self._changed.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), None if wait_s == float("inf") else wait_s)
        self._bucket.take(size_bytes)


async def _together(*coroutines: Coroutine[None, None, None]) -> None:
    """Run all to their end; when one fails the others end, too, and its error is raised."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.gather(*tasks)
    finally:
        await _ended(*tasks)


async def _ended(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Relay until killed, or the parent has gone; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        rate_bps = None if options.mbps is None else options.mbps * 1e6
        settings = RelaySettings(
            options.to, options.delay_ms / 1000, options.buffer_kb * 1000, rate_bps, options.queue_kb * 1000
        )
        asyncio.run(_serve(options.listen, settings))
    except SplitError as error:
        print(f"delay-relay: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.harness.delay_relay", description=__doc__)
    parser.add_argument("--listen", type=_address, default=("127.0.0.1", 0), metavar="HOST:PORT")
    parser.add_argument("--to", type=_address, required=True, metavar="HOST:PORT", help="where to forward")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="in each direction (%(default)s)")
    parser.add_argument("--mbps", type=float, help="rate upward; no limit if not given")
    parser.add_argument("--buffer-kb", type=int, default=1000, help="held in each direction (%(default)s)")
    parser.add_argument("--queue-kb", type=int, default=32, help="in front of the rate limit (%(default)s)")
    return parser


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if not (host and port.isdecimal()):
        raise argparse.ArgumentTypeError("must be HOST:PORT")
    return host, int(port)


async def _serve(listen: Address, settings: RelaySettings) -> None:
    parent = os.getppid()  # before anybody is told that we are ready: the parent may end at once
    relay = DelayRelay(settings)
    host, port = relay.start(listen)
    print(f"delay-relay ready: listening on {host}:{port}", flush=True)
    if settings.rate_bps is not None:
        arguments = (asyncio.get_running_loop(), relay)
        threading.Thread(target=_read_rates, args=arguments, name="rates", daemon=True).start()
    while os.getppid() == parent:
        await asyncio.sleep(PARENT_CHECK_S)


def _read_rates(loop: asyncio.AbstractEventLoop, relay: DelayRelay) -> None:
    """Take each line of stdin as a rate: in a thread, since not every stdin can be waited for."""
    for line in sys.stdin:
        try:
            rate_bps = max(0.0, float(line) * 1e6)
        except ValueError:
            print(f"delay-relay: {line.strip()!r} is no rate in Mbps", file=sys.stderr, flush=True)
            continue
        with suppress(RuntimeError):  # the relay has ended
            loop.call_soon_threadsafe(relay.set_rate, rate_bps)


if __name__ == "__main__":
    sys.exit(main())
