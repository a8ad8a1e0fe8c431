"""Namespaces and a shaped cable between them, with real TCP; skipped where they cannot be made."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import repeat

import pytest

from benchmarks.adaptation import namespaces, shaped_link
from benchmarks.adaptation.namespaces import (
    DEVICE_ADDRESS,
    EDGE_ADDRESS,
    INTERFACE,
    NamespacePair,
    available,
    call_inside,
    namespace_pair,
    run_tool,
)
from benchmarks.adaptation.shaped_link import SLOT_S, LinkShaper, shaped
from benchmarks.harness.processes import child_process
from benchmarks.harness.traces import Trace, steps
from splitnet.errors import ConfigError

REASON = available()
real = pytest.mark.skipif(REASON is not None, reason=str(REASON))
PATIENCE_S = 20.0
SEGMENT = 1448 / 1500  # what of an IP packet is TCP's payload


@pytest.fixture
def pair() -> Iterator[NamespacePair]:
    with namespace_pair() as made:
        yield made


def names() -> set[str]:
    """Return the namespaces that this process has made and not removed."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return {
        name for line in listed.stdout.splitlines() if (name := line.split()[0]).startswith(f"slimsplit-{os.getpid()}-")
    }


# Where they cannot be made.


def test_elsewhere_it_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda tool: f"/sbin/{tool}")
    assert available() == "network namespaces need root: run it with sudo"
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    assert available() == "ip and tc not found: install iproute2"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert available() == "network namespaces need Linux"


def test_a_tool_that_fails_is_quoted():
    with pytest.raises(ConfigError, match=r"`sh -c echo no luck >&2; exit 3` failed: no luck"):
        run_tool("sh", "-c", "echo no luck >&2; exit 3")


@real
def test_a_kernel_that_refuses_is_a_reason(monkeypatch):
    monkeypatch.setattr(namespaces, "INTERFACE", "a name that is far too long")
    before = names()
    assert "failed: " in available()
    assert names() == before


# The pair.


@real
def test_two_namespaces_talk_over_tcp_and_are_gone_afterwards():
    before = names()
    with namespace_pair() as pair:
        assert names() - before == {pair.device, pair.edge}
        sender, receiver = connected(pair)
        assert receiver.getpeername()[0] == DEVICE_ADDRESS
        sender.sendall(b"hello")
        assert receiver.recv(10) == b"hello"
        sender.close()
        receiver.close()
    assert names() == before


@real
def test_the_rest_of_the_machine_does_not_see_the_cable(pair):
    assert INTERFACE not in [name for _, name in socket.if_nameindex()]
    assert INTERFACE in [name for _, name in call_inside(pair.device, socket.if_nameindex)]
    with namespace_pair() as other:  # the same addresses, and no quarrel
        assert {other.device, other.edge}.isdisjoint({pair.device, pair.edge})


@real
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_namespaces_are_removed_when_a_signal_ends_their_block(number):
    before = names()
    with pytest.raises(KeyboardInterrupt), namespace_pair():
        os.kill(os.getpid(), number)
        pytest.fail("the signal must end the block")
    assert names() == before


@real
def test_an_error_inside_a_namespace_reaches_the_caller_who_stays_outside(pair):
    with pytest.raises(ZeroDivisionError):
        call_inside(pair.edge, lambda: 1 / 0)
    with pytest.raises(OSError, match="requested address"):
        socket.create_server((EDGE_ADDRESS, 0))
    with pytest.raises(FileNotFoundError):
        call_inside("slimsplit-not-there", socket.if_nameindex)


@real
def test_a_child_process_runs_inside_its_namespace(pair):
    says = ["timeit", "-n1", "-r1", "import socket; print([n for _, n in socket.if_nameindex()], flush=True)"]
    with child_process(says, subprocess.PIPE, namespace=pair.device) as child:
        assert INTERFACE in child.stdout.readline()
        child.wait(timeout=60)


# The shaped link.


def connected(pair: NamespacePair) -> tuple[socket.socket, socket.socket]:
    """Return a TCP connection from the device: its end, and the edge node's."""
    with call_inside(pair.edge, lambda: socket.create_server((EDGE_ADDRESS, 0))) as listener:
        address = listener.getsockname()
        sender = call_inside(pair.device, lambda: socket.create_connection(address))
        receiver, _ = listener.accept()
    for end in (sender, receiver):
        end.settimeout(PATIENCE_S)
    return sender, receiver


def transferred(pair: NamespacePair, trace: Trace, until_s: float) -> list[tuple[float, int]]:
    """Send without pause over the shaped link; return seconds of the trace, and bytes that had arrived by then."""
    arrived: list[tuple[float, int]] = []
    with shaped(pair, trace) as begin:
        sender, receiver = connected(pair)
        sending = threading.Thread(target=send_all, args=(sender,))
        sending.start()
        received = 0
        while (now := time.monotonic() - begin) < until_s and (chunk := receiver.recv(1 << 16)):
            received += len(chunk)
            arrived.append((now, received))
        receiver.close()
        sending.join()
        sender.close()
    return arrived


def send_all(sender: socket.socket) -> None:
    try:
        for chunk in repeat(bytes(1 << 16)):
            sender.sendall(chunk)
    except OSError:  # the receiver has had enough
        return


@real
def test_a_real_transfer_gets_the_rates_that_were_asked_for(pair):
    arrived = transferred(pair, steps([0.4, 4.0, 0.0, 2.0], 1.0), 4.0)
    for mbps, begin_s, end_s in ((0.4, 0.3, 1.0), (4.0, 1.2, 2.0)):
        (begin, first), *_, (end, last) = [mark for mark in arrived if begin_s < mark[0] < end_s]
        assert (last - first) * 8 / (end - begin) / 1e6 == pytest.approx(mbps * SEGMENT, rel=0.2)
    # The outage lets a packet slip through and no more, and then the link comes back.
    before = max(count for at, count in arrived if at <= 2.2)
    during = [count for at, count in arrived if 2.2 < at < 2.95]
    assert max(during, default=before) - before <= 1448
    assert arrived[-1][1] - before > 0.5 * 2e6 / 8 * SEGMENT


@real
def test_the_link_is_open_again_afterwards_for_what_waits_already(pair):
    with shaped(pair, steps([0.0, 1.0], 1000.0)):
        sender, receiver = connected(pair)  # packets this small slip through together
        sender.sendall(bytes(5000))
    received = 0
    while received < 5000:
        received += len(receiver.recv(1 << 16))
    sender.close()
    receiver.close()


@real
def test_the_unshaped_cable_is_a_wide_one(pair):
    sender, receiver = connected(pair)
    begin = time.monotonic()
    sending = threading.Thread(target=sender.sendall, args=(bytes(5_000_000),))
    sending.start()
    received = 0
    while received < 5_000_000:
        received += len(receiver.recv(1 << 16))
    assert received * 8 / (time.monotonic() - begin) > 10e6  # on a machine however busy
    sending.join()
    receiver.close()
    sender.close()


@real
def test_a_tc_that_fails_is_an_error(pair, monkeypatch, capfd):
    shaper = LinkShaper(pair, steps([1.0], 1.0), queue_bytes=30_000)
    shaper.start()
    run_tool("ip", "-n", pair.device, "link", "delete", INTERFACE)
    shaper._thread.join(20 * SLOT_S)
    with pytest.raises(ConfigError, match="tc has failed"):
        shaper.stop()
    assert INTERFACE in capfd.readouterr().err


@real
def test_a_shaper_that_was_never_started_can_be_stopped(pair):
    LinkShaper(pair, steps([1.0], 1.0), queue_bytes=30_000).stop()


def test_a_slot_is_told_once_and_a_blocked_link_is_left_alone(monkeypatch):
    monkeypatch.setattr(shaped_link, "call_inside", lambda namespace, function: (None, None))
    shaper = LinkShaper(NamespacePair("a", "b"), steps([0.12, 0.0], 0.2), queue_bytes=30_000)
    commands = [shaper._command(slot) for slot in range(4)]
    assert commands[0] == "qdisc replace dev up0 root tbf rate 8bit burst 1600 limit 30000"
    assert commands[2:] == [None, None]
