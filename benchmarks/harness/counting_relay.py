"""A TCP relay in threads that counts what passes: bytes, and the packets that the kernel says carried them."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

READ_BYTES = 65_536
END_PATIENCE_S = 5.0  # for a connection that both ends have closed to be counted
PACKET_OVERHEAD_BYTES = 20 + 20 + 12  # IPv4 and TCP with timestamps (RFC 9293, 7323)
_SEGMENTS = struct.Struct("=136xII")  # of Linux' tcp_info: segments sent and received


@dataclass
class Traffic:
    """What has passed in both directions, connections closed."""

    up_bytes: int = 0
    down_bytes: int = 0
    up_packets: int = 0
    down_packets: int = 0

    @property
    def up_wire_bytes(self) -> int:
        """Bytes upward with the headers of TCP and IP."""
        return self.up_bytes + PACKET_OVERHEAD_BYTES * self.up_packets

    @property
    def down_wire_bytes(self) -> int:
        """Bytes downward with the headers of TCP and IP."""
        return self.down_bytes + PACKET_OVERHEAD_BYTES * self.down_packets


@contextmanager
def counting_relay(to: str) -> Iterator[tuple[str, Traffic]]:
    """Forward connections to HOST:PORT until the block ends; gives the address to connect to, and the counts.

    Packets are counted when a connection has ended.
    """
    host, port = to.rsplit(":", 1)
    traffic, lock = Traffic(), threading.Lock()
    serving: list[threading.Thread] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with suppress(OSError):  # closed
            while True:
                device, _ = listener.accept()
                serving.append(threading.Thread(target=serve, args=(device,), daemon=True))
                serving[-1].start()

    def serve(device: socket.socket) -> None:
        with device, socket.create_connection((host, int(port))) as server:
            for side in (device, server):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            downward = threading.Thread(target=forward, args=(server, device, "down_bytes"), daemon=True)
            downward.start()
            forward(device, server, "up_bytes")
            downward.join()
            sent, received = _SEGMENTS.unpack_from(device.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256))
            with lock:
                traffic.up_packets += received
                traffic.down_packets += sent

    def forward(source: socket.socket, sink: socket.socket, name: str) -> None:
        with suppress(OSError):  # either end is gone
            while data := source.recv(READ_BYTES):
                with lock:
                    setattr(traffic, name, getattr(traffic, name) + len(data))
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}", traffic
    finally:
        listener.close()
        for one in serving:
            one.join(END_PATIENCE_S)
