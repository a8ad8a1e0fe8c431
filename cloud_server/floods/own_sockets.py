"""The connections that gRPC has taken, seen from beside: it shows no socket, but they are this process's (Linux).

A socket is only borrowed here. What it was is asked by its inode each time, since gRPC may close it at any moment.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import sys
import termios
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from cloud_server.floods.flood_rule import Seen
from cloud_server.floods.flows import endpoint
from cloud_server.floods.source_filter import INSTRUCTION

FOLDER = "/proc/self/fd"
TCP_INFO, TCP_INFO_BYTES = 11, 136
ACKED_AT = 120  # of tcpi_bytes_acked in struct tcp_info, and tcpi_bytes_received (RFC 4898: HCThruOctets...)
ESTABLISHED, CLOSE_WAIT, LISTEN = 1, 8, 10  # the first byte of it
SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27


def can_see() -> bool:
    """Return whether this system shows a process its own sockets."""
    return sys.platform == "linux" and os.path.isdir(FOLDER)  # noqa: PTH112 - no path of a file


class OwnSockets:
    """The sockets of this process that listen on, or were taken at, some ports."""

    def __init__(self, ports: Iterable[int]) -> None:
        """Take the ports of the server."""
        self._ports = frozenset(ports)
        self._others: set[int] = set()  # inodes of sockets that are none of these
        self._listeners: set[int] = set()
        self._descriptors: dict[int, int] = {}  # by inode

    def look(self) -> list[Seen]:
        """Return the connections that there are."""
        found = dict(_sockets())
        self._others &= found.keys()
        self._descriptors = {inode: one for inode, one in found.items() if inode not in self._others}
        self._listeners = set()
        seen = []
        for inode, descriptor in list(self._descriptors.items()):
            with suppress(OSError), _borrowed(descriptor, inode) as one:
                state, acked, received = _state(one) if self._is_ours(one) else (None, 0, 0)
                if state is None:
                    self._others.add(inode)
                elif state == LISTEN:
                    self._listeners.add(inode)
                elif state in (ESTABLISHED, CLOSE_WAIT):
                    peer = endpoint(*one.getpeername()[:2])
                    seen.append(Seen(inode, peer, received - _unread(one), acked))
        return seen

    def cut(self, inodes: Iterable[int]) -> None:
        """End connections of the last look: gRPC sees that the peer has hung up."""
        for inode in inodes:
            with suppress(OSError), _borrowed(self._descriptors[inode], inode) as one:
                one.shutdown(socket.SHUT_RDWR)

    def bar(self, program: bytes) -> None:
        """Set the filter of what listens; an empty program takes it away. Raises OSError where there is none."""
        for inode in self._listeners:
            with _borrowed(self._descriptors[inode], inode) as one:
                _set_filter(one, program)

    def _is_ours(self, one: socket.socket) -> bool:
        return (
            one.family in (socket.AF_INET, socket.AF_INET6)
            and one.type == socket.SOCK_STREAM
            and one.getsockname()[1] in self._ports
        )


def _sockets() -> Iterator[tuple[int, int]]:
    """Yield inode and descriptor of every open socket."""
    for name in os.listdir(FOLDER):  # noqa: PTH208 - the names are numbers
        with suppress(OSError):
            kind, _, inode = os.readlink(f"{FOLDER}/{name}").partition(":[")  # noqa: PTH115 - no path
            if kind == "socket":
                yield int(inode[:-1]), int(name)


@contextmanager
def _borrowed(descriptor: int, inode: int) -> Iterator[socket.socket]:
    """Yield a socket that is not closed here. Raises OSError if the descriptor is another one by now."""
    one = socket.socket(fileno=descriptor)
    try:
        if os.fstat(descriptor).st_ino != inode:
            raise OSError("another socket")
        yield one
    finally:
        one.detach()


def _state(one: socket.socket) -> tuple[int, int, int]:
    """Return a TCP socket's state, and how many bytes the peer has confirmed and sent."""
    info = one.getsockopt(socket.IPPROTO_TCP, TCP_INFO, TCP_INFO_BYTES)
    acked, received = struct.unpack_from("=QQ", info, ACKED_AT)
    return info[0], acked, received


def _unread(one: socket.socket) -> int:
    """Return how many bytes wait in the kernel: what was not read has cost nothing."""
    (count,) = struct.unpack("@i", fcntl.ioctl(one.fileno(), termios.FIONREAD, bytes(4)))
    return int(count)


def _set_filter(one: socket.socket, program: bytes) -> None:
    if not program:
        with suppress(OSError):  # there was none
            one.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
        return
    memory = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("@HP", len(program) // INSTRUCTION.size, ctypes.addressof(memory))  # struct sock_fprog
    one.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, head)
