"""A filter for a listening socket that takes nothing from some addresses: classic BPF (filter.txt of Linux). Pure.

Any process may set one on its own sockets. The kernel asks it at the first packet, before there is a connection.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address

INSTRUCTION = struct.Struct("@HBBI")  # struct sock_filter: code, how far to jump if true, if not, operand
LOAD_BYTE, LOAD_WORD, SHIFT_RIGHT, JUMP, JUMP_IF_EQUAL, RETURN = 0x30, 0x20, 0x74, 0x05, 0x15, 0x06
NETWORK_HEADER = 0xFFF00000  # SKF_NET_OFF: offsets from here are in the IP header
SOURCE_V4, SOURCE_V6 = NETWORK_HEADER + 12, NETWORK_HEADER + 8
DROP, TAKE = 0, 0x7FFFFFFF


def source_filter(barred: Iterable[str]) -> bytes:
    """Return the program that drops packets from some addresses and takes all others; empty if there are none."""
    addresses = [ip_address(one) for one in barred]
    if not addresses:
        return b""
    of_v4 = b"".join(_drop_v4(one) for one in addresses if isinstance(one, IPv4Address))
    part_v4 = _one(LOAD_WORD, SOURCE_V4) + of_v4 + _one(RETURN, TAKE)
    of_v6 = b"".join(b"".join(_drop_v6(one)) for one in addresses if isinstance(one, IPv6Address))
    part_v6 = of_v6 + _one(RETURN, TAKE)
    version = _one(LOAD_BYTE, NETWORK_HEADER) + _one(SHIFT_RIGHT, 4) + _one(JUMP_IF_EQUAL, 4, 1, 0)
    return version + _one(JUMP, len(part_v4) // INSTRUCTION.size) + part_v4 + part_v6


def _drop_v4(address: IPv4Address) -> bytes:
    return _one(JUMP_IF_EQUAL, int(address), 0, 1) + _one(RETURN, DROP)


def _drop_v6(address: IPv6Address) -> Iterator[bytes]:
    """Yield the four comparisons of an address; each that fails goes on behind the last."""
    for i, word in enumerate(struct.unpack(">4I", address.packed)):
        yield _one(LOAD_WORD, SOURCE_V6 + 4 * i) + _one(JUMP_IF_EQUAL, word, 0, 7 - 2 * i)
    yield _one(RETURN, DROP)


def _one(code: int, operand: int, if_true: int = 0, if_not: int = 0) -> bytes:
    return INSTRUCTION.pack(code, if_true, if_not, operand)
