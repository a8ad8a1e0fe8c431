"""What a peer may try: `python -m benchmarks.serving.attacks NAME HOST:PORT DIGEST SECONDS`.

A process of its own, so that the honest device's does not suffer. Every attack is bounded in seconds, and in what it
opens.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import cv2
import grpc
import numpy as np

from benchmarks.serving.half_sent import HalfSent
from benchmarks.serving.raw_attacks import endless_headers, large_metadata, pings_and_settings, rapid_resets, sent
from splitnet.errors import SplitError
from splitnet.messages import MAX_DEADLINE_MS, MAX_PAYLOAD_BYTES, Frame, InferRequest, OpenSession
from splitnet.operating_point import Codec, OperatingPoint
from splitnet.wire.sessions import infer_request_to_proto, request_to_proto

SEGMENTS, SIDE = 261_000, 4096
CONNECTIONS, SILENT, STREAMS = 100, 500, 20
DETECT, INFER, HEALTH = (
    "/slimsplit.v1.SplitInference/Detect",
    "/slimsplit.v1.SplitInference/Infer",
    "/grpc.health.v1.Health/Check",
)
ENDED = (grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError, OSError, SplitError)
JPEG = OperatingPoint(Codec.JPEG, 0, 50)


@dataclass(frozen=True)
class Target:
    """Whom to attack."""

    server: str
    digest: str

    @property
    def place(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.server.rpartition(":")
        return host.strip("[]"), int(port)

    def channel(self) -> grpc.aio.Channel:
        """Return a connection of its own."""
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
        return grpc.aio.insecure_channel(self.server, options=options)

    def opening(self, name: str) -> bytes:
        """Return the first message of a session."""
        return request_to_proto(OpenSession(name, self.digest)).SerializeToString()


Call = grpc.aio.StreamStreamCall[bytes, bytes]
Attack = Callable[[Target], Awaitable[None]]


def many_segments() -> bytes:
    """Return a JPEG that is a list of empty segments."""
    return b"\xff\xd8" + b"\xff\xfe\x00\x02" * SEGMENTS


def costly_image(progressive: bool) -> bytes:
    """Return a JPEG of all the pixels that a server takes: about as costly as a payload can be."""
    square = np.full((SIDE, SIDE, 3), 120, np.uint8)
    square[::64] = 90
    _, data = cv2.imencode(
        ".jpg", square, (cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive), cv2.IMWRITE_JPEG_QUALITY, 30)
    )
    assert data.size <= MAX_PAYLOAD_BYTES
    return data.tobytes()


def _frame(number: int, payload: bytes, deadline_ms: int = 400) -> bytes:
    frame = Frame(number, 0, JPEG, payload, 0, 0, deadline_ms, whole_image=True)
    return request_to_proto(frame).SerializeToString()


async def _flood(target: Target, name: str, message: bytes, reads: bool = True) -> None:
    """Send one message again and again on one stream, as fast as it is taken."""
    async with target.channel() as channel:
        call: Call = channel.stream_stream(DETECT)()
        reading = asyncio.create_task(_read_all(call)) if reads else None
        with suppress(*ENDED):
            await call.write(target.opening(name))
            while True:
                await call.write(message)
        if reading is not None:
            reading.cancel()


async def _read_all(call: Call) -> None:
    with suppress(*ENDED):
        while await call.read() is not grpc.aio.EOF:
            pass


async def _ask(channel: grpc.aio.Channel, method: str, request: bytes) -> None:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
    await call(request)


async def _again(action: Callable[[], Awaitable[object]]) -> None:
    """Do something again and again, whatever comes of it."""
    while True:
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, OSError):
            await action()
        await asyncio.sleep(0)


async def _together(actions: Iterable[Awaitable[None]]) -> None:
    await asyncio.gather(*actions)


async def empty_segments(target: Target) -> None:
    """Send a JPEG of 261,000 empty segments, from four sessions."""
    await _together(_flood(target, f"s{n}", _frame(1, many_segments())) for n in range(4))


async def costly_images(target: Target) -> None:
    """Send images of 16 megapixels, every other one progressive, from four sessions."""
    await _together(_flood(target, f"s{n}", _frame(1, costly_image(n % 2 == 0))) for n in range(4))


async def half_sent_sessions(target: Target) -> None:
    """Send openings of 1 MiB but for their last byte, on 400 streams."""
    await _again(
        lambda: _together(HalfSent(CONNECTIONS, MAX_PAYLOAD_BYTES, "Detect").run(*target.place) for _ in "1234")
    )


async def half_sent_calls(target: Target) -> None:
    """Send single calls of 1 MiB but for their last byte, on 400 streams."""
    await _again(
        lambda: _together(HalfSent(CONNECTIONS, MAX_PAYLOAD_BYTES, "Infer").run(*target.place) for _ in "1234")
    )


async def silent_connections(target: Target) -> None:
    """Open 500 connections and say nothing."""

    async def silent() -> None:
        reader, writer = await asyncio.open_connection(*target.place)
        try:
            await reader.read()
        finally:
            writer.close()

    await _together(_again(silent) for _ in range(SILENT))


async def unopened_streams(target: Target) -> None:
    """Begin 500 sessions and never open them."""

    async def begin(channel: grpc.aio.Channel) -> None:
        await channel.stream_stream(DETECT)().read()

    channels = [target.channel() for _ in range(10)]
    await _together(_again(partial(begin, one)) for one in channels for _ in range(SILENT // 10))


async def unread_replies(target: Target) -> None:
    """Have 20 sessions answer frames, and read nothing."""
    message = _frame(1, b"no image", MAX_DEADLINE_MS)
    await _together(_flood(target, f"s{n}", message, reads=False) for n in range(STREAMS))


async def twenty_floods(target: Target) -> None:
    """Send good images as fast as they are taken, on 20 streams under 20 names."""
    _, data = cv2.imencode(".jpg", np.full((240, 320, 3), 120, np.uint8))
    await _together(_flood(target, f"s{n}", _frame(1, data.tobytes())) for n in range(STREAMS))


async def refused_frames(target: Target) -> None:
    """Send frames that break the rules as fast as they are taken."""
    await _flood(target, "s", _frame(1, b"x", MAX_DEADLINE_MS + 1))


async def single_calls(target: Target) -> None:
    """Make single calls on 100 connections, without a pause."""
    frame = Frame(1, 0, JPEG, b"no image", 0, 0, 0, whole_image=True)
    request = infer_request_to_proto(InferRequest("", frame)).SerializeToString()
    channels = [target.channel() for _ in range(CONNECTIONS)]
    await _together(_again(partial(_ask, one, INFER, request)) for one in channels)


async def health_checks(target: Target) -> None:
    """Ask for the server's health on 50 streams, without a pause."""
    channel = target.channel()
    await _together(_again(partial(_ask, channel, HEALTH, b"")) for _ in range(50))


async def opens_and_resets(target: Target) -> None:
    """Open sessions and reset them at once, 20 at a time."""
    channel = target.channel()

    async def once() -> None:
        call: Call = channel.stream_stream(DETECT)()
        await call.write(target.opening("s"))
        await call.read()
        call.cancel()

    await _together(_again(once) for _ in range(STREAMS))


async def layers_without_end(target: Target) -> None:
    """Begin frames of 1 MiB in layers that never come, due in an hour, on 20 streams."""
    point = OperatingPoint(Codec.RANS, 1, 0)
    frames = (Frame(n, 0, point, bytes(MAX_PAYLOAD_BYTES), 640, 480, MAX_DEADLINE_MS, layers=2) for n in range(8))
    messages = [request_to_proto(frame).SerializeToString() for frame in frames]

    async def begin(name: str) -> None:
        async with target.channel() as channel:
            call: Call = channel.stream_stream(DETECT)()
            with suppress(*ENDED):
                await call.write(target.opening(name))
                for message in messages:
                    await call.write(message)
                await _read_all(call)

    await _together(_again(partial(begin, f"s{n}")) for n in range(STREAMS))


async def resets(target: Target) -> None:
    """Make calls and reset each at once, on 10 connections (rapid reset)."""
    await sent(*target.place, rapid_resets)


async def headers_without_end(target: Target) -> None:
    """Send headers that never end, on 10 connections."""
    await sent(*target.place, endless_headers)


async def large_headers(target: Target) -> None:
    """Make calls with 16 KB of headers each, on 10 connections."""
    await sent(*target.place, large_metadata)


async def pings(target: Target) -> None:
    """Send pings and settings, each of which wants an answer, on 10 connections."""
    await sent(*target.place, pings_and_settings)


ATTACKS: tuple[Attack, ...] = (
    empty_segments,
    costly_images,
    half_sent_sessions,
    half_sent_calls,
    silent_connections,
    unopened_streams,
    unread_replies,
    twenty_floods,
    refused_frames,
    single_calls,
    health_checks,
    opens_and_resets,
    layers_without_end,
    resets,
    headers_without_end,
    large_headers,
    pings,
)


def summary(attack: Attack) -> str:
    """Return what an attack does."""
    return (attack.__doc__ or "").strip().rstrip(".")


async def attacking(name: str, target: Target, seconds: float) -> None:
    """Attack for so long."""
    attack = next(one for one in ATTACKS if one.__name__ == name)
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(attack(target), seconds)


def main() -> None:
    """Attack as the command line says."""
    name, server, digest, seconds = sys.argv[1:]
    print("begun", flush=True)
    asyncio.run(attacking(name, Target(server, digest), float(seconds)))


if __name__ == "__main__":
    main()
