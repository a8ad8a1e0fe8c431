"""What each connection has shown for the bytes of it: calls and messages. Pure.

gRPC answers pings and reads headers by itself, and tells nobody. So what a connection has sent beyond its messages, and
got beyond its answers, was of no use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

CALL_BYTES = 2048  # of headers, either way, for whoever calls ...
HEADER_BYTES = 18_432  # ... and more of them for a call that passes: gRPC refuses over 16 KiB
AROUND_BYTES = 256  # a message: frames of HTTP/2, records of TLS, windows; 1 % for what is in several pieces
MESSAGE_BYTES = (1 << 20) + (1 << 16)  # under way in an open call
_ESCAPES = (("%5B", "["), ("%5D", "]"), ("%25", "%"))


class Endpoint(NamedTuple):
    """One end of a connection."""

    address: str
    port: int


def endpoint(address: str, port: int) -> Endpoint:
    """Return an endpoint by its plain address: IPv4 where it is IPv4 inside IPv6, without a zone."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return Endpoint(address, port)
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return Endpoint(str(found), port)


def endpoint_of_peer(peer: str) -> Endpoint | None:
    """Return whom gRPC calls "ipv4:192.0.2.1:50312" or "ipv6:%5B2001:db8::1%5D:50312"; None if it is no address."""
    kind, _, rest = peer.partition(":")
    address, _, port = rest.rpartition(":")
    for code, sign in _ESCAPES:
        address = address.replace(code, sign)
    if kind not in ("ipv4", "ipv6") or not port.isdigit():
        return None
    return endpoint(address.strip("[]"), int(port))


@dataclass
class Flow:
    """What one connection has shown, in bytes that are accounted for."""

    received: float = 0.0
    sent: float = 0.0
    open_calls: int = 0

    def receive(self, count: int) -> None:
        """Count a message that has come; windows go back for it."""
        self.received += 1.01 * count + AROUND_BYTES
        self.sent += 0.01 * count + AROUND_BYTES

    def send(self, count: int) -> None:
        """Count a message that was sent; windows come back for it."""
        self.sent += 1.01 * count + AROUND_BYTES
        self.received += 0.01 * count + AROUND_BYTES

    @property
    def receivable(self) -> float:
        """Bytes that may have come, with what is under way."""
        return self.received + MESSAGE_BYTES * self.open_calls


FLOW: ContextVar[Flow | None] = ContextVar("FLOW", default=None)  # of the call that is being served


class Flows:
    """The connections that have made calls. Written on the event loop, read by the guard."""

    def __init__(self) -> None:
        self.is_read = True  # by a guard, which forgets those that are gone; else nothing is kept
        self._flows: dict[Endpoint, Flow] = {}

    def called(self, peer: str) -> None:
        """Count a call, whether it may pass or not."""
        if (key := self._key(peer)) is not None:
            flow = self._flows.setdefault(key, Flow())
            flow.received += CALL_BYTES
            flow.sent += CALL_BYTES

    @contextmanager
    def passed(self, peer: str) -> Iterator[None]:
        """Count the messages of a call in this block."""
        key = self._key(peer)
        if key is None:
            yield
            return
        flow = self._flows.setdefault(key, Flow())
        flow.received += HEADER_BYTES
        flow.open_calls += 1
        FLOW.set(flow)
        try:
            yield
        finally:
            flow.open_calls -= 1

    def _key(self, peer: str) -> Endpoint | None:
        return endpoint_of_peer(peer) if self.is_read else None

    def of(self, key: Endpoint) -> Flow | None:
        """Return what a connection has shown; None if it has made no call."""
        return self._flows.get(key)

    def keep(self, present: set[Endpoint]) -> None:
        """Forget the connections that are gone."""
        for key, flow in list(self._flows.items()):
            if key not in present and not flow.open_calls:
                del self._flows[key]


def count_received(raw: bytes) -> None:
    """Count a message that the call being served has received."""
    if (flow := FLOW.get()) is not None:
        flow.receive(len(raw))


def count_sent(raw: bytes) -> None:
    """Count a message that the call being served sends."""
    if (flow := FLOW.get()) is not None:
        flow.send(len(raw))
