"""Real sockets of this process, seen from beside, cut, and kept out by the kernel's filter."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from cloud_server.floods.own_sockets import OwnSockets, can_see
from cloud_server.floods.source_filter import INSTRUCTION, source_filter

pytestmark = pytest.mark.skipif(not can_see(), reason="this system does not show a process its own sockets")
PATIENCE_S = 10.0


class Listening:
    """A socket that listens on all addresses of this machine, as gRPC's does, and those who come."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        try:
            made = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError:
            pytest.skip("this machine has no IPv6")
        self.socket = stack.enter_context(made)
        self.port = self.socket.getsockname()[1]
        self.own = OwnSockets([self.port])

    def connected(self, address: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
        """Return both ends of a new connection."""
        client = self._stack.enter_context(socket.create_connection((address, self.port), PATIENCE_S))
        served, _ = self.socket.accept()
        self._stack.enter_context(served)
        return client, served


@pytest.fixture
def listening() -> Iterator[Listening]:
    with ExitStack() as stack:
        yield Listening(stack)


def test_a_connection_is_seen_with_the_bytes_that_were_read_and_confirmed(listening):
    client, served = listening.connected()
    client.sendall(b"x" * 1000)
    assert served.recv(400, socket.MSG_WAITALL)
    served.sendall(b"y" * 70)
    assert client.recv(70, socket.MSG_WAITALL)
    (seen,) = listening.own.look()
    assert tuple(seen.peer) == client.getsockname()
    assert seen.read_bytes == 400, "what nobody has read yet has cost nothing"
    assert seen.sent_bytes in (0, 70), "the kernel may confirm a moment later"


def test_sockets_of_other_ports_are_not_looked_at_and_stay_as_they_are(listening):
    with socket.create_server(("127.0.0.1", 0)) as other, socket.create_connection(other.getsockname()[:2]) as client:
        assert listening.own.look() == []
        assert client.getpeername() == other.getsockname()


def test_a_cut_ends_one_connection_for_both_ends_and_no_other(listening):
    first, served = listening.connected()
    second, _ = listening.connected("::1")
    by_port = {seen.peer.port: seen.id for seen in listening.own.look()}
    listening.own.cut([by_port[first.getsockname()[1]]])
    assert served.recv(1) == b"" and first.recv(1) == b""
    second.sendall(b"still here")
    assert [seen.peer.port for seen in listening.own.look()] == [second.getsockname()[1]]


def test_a_connection_that_is_gone_by_the_time_of_the_cut_is_no_error(listening):
    client, served = listening.connected()
    (seen,) = listening.own.look()
    served.close()
    client.close()
    with socket.socket(), socket.socket():  # may take its descriptors
        listening.own.cut([seen.id])


@pytest.mark.parametrize(("barred", "other"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
def test_a_barred_address_gets_no_connection_and_others_do(listening, barred, other):
    known, _ = listening.connected(barred)
    listening.own.look()
    listening.own.bar(source_filter([barred, "192.0.2.7", "2001:db8::7"]))
    with suppress(OSError), socket.create_connection((barred, listening.port), 0.05):
        pytest.fail("it came in")
    listening.connected(other)
    known.sendall(b"what was open goes on")
    listening.own.bar(b"")
    listening.connected(barred)


def test_no_filter_is_the_empty_program():
    assert source_filter([]) == b""


def test_the_program_stays_below_what_the_kernel_takes():
    many = [f"10.0.0.{n}" for n in range(200)] + [f"2001:db8::{n:x}" for n in range(200)]
    assert len(source_filter(many)) // INSTRUCTION.size < 4096
