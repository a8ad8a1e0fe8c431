"""Just enough HTTP/2 (RFC 9113) to send messages but for their last byte, which no library does.

A peer that says how long a message is and never ends it makes the server keep what has come.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
END_HEADERS, ACK = 4, 1
CANCEL = (8).to_bytes(4, "big")  # why a stream is reset
FRAME_BYTES = 16_384
FIRST_WINDOW = 65_535
PATH = "/slimsplit.v1.SplitInference/"


def http2_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def request_headers(method: str) -> bytes:
    """Return the headers of a call, as HPACK literals (RFC 7541) without a table."""
    fields = ((":method", "POST"), (":scheme", "http"), (":path", f"{PATH}{method}"), (":authority", "edge"))
    others = (("content-type", "application/grpc"), ("te", "trailers"))
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in (*fields, *others))


def _text(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


class HalfSent:
    """A connection with streams that are all about to finish their first message."""

    def __init__(self, streams: int, message_bytes: int, method: str) -> None:
        """Take how many streams, how long their messages are, and what they call."""
        self._method = method
        prefix = b"\x00" + message_bytes.to_bytes(4, "big")
        self._left = dict.fromkeys(range(1, 2 * streams, 2), prefix + bytes(message_bytes - 1))
        self._windows = dict.fromkeys((0, *self._left), FIRST_WINDOW)

    async def run(self, host: str, port: int) -> None:
        """Send as much as the server takes, until it hangs up or this is cancelled."""
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(PREFACE + http2_frame(SETTINGS, 0, 0, b""))
            for stream in self._left:
                writer.write(http2_frame(HEADERS, END_HEADERS, stream, request_headers(self._method)))
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    self._send(writer)
                    await writer.drain()
                    self._take(writer, *await _read(reader))
        finally:
            writer.close()

    def _send(self, writer: asyncio.StreamWriter) -> None:
        for stream, left in self._left.items():
            room = min(self._windows[0], self._windows[stream], len(left), FRAME_BYTES)
            if room > 0:
                writer.write(http2_frame(DATA, 0, stream, left[:room]))
                self._left[stream] = left[room:]
                for one in (0, stream):
                    self._windows[one] -= room

    def _take(self, writer: asyncio.StreamWriter, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE and stream in self._windows:
            self._windows[stream] += int.from_bytes(payload, "big")
        elif kind == SETTINGS and not flags & ACK:
            writer.write(http2_frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            writer.write(http2_frame(PING, ACK, 0, payload))


async def _read(reader: asyncio.StreamReader) -> tuple[int, int, int, bytes]:
    head = await reader.readexactly(9)
    payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
    return head[3], head[4], int.from_bytes(head[5:], "big"), payload
