"""Two network namespaces joined by a cable: a device and an edge node on one machine, with real TCP between them.

Needs Linux, root and iproute2. Nothing outside the two namespaces is touched, and the cable is made inside them. All of
it goes when the block ends, in whatever way but SIGKILL (then: `ip netns list`, `ip netns delete NAME`).
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.adaptation.shaping import OPEN
from benchmarks.harness.processes import unwound_by_signals
from splitnet.errors import ConfigError

DEVICE_ADDRESS, EDGE_ADDRESS = "10.77.0.1", "10.77.0.2"  # the same in every pair: pairs cannot see each other
INTERFACE = "up0"  # both ends of the cable
SINGLE_PACKETS = ("gso_max_segs", "1")  # TCP hands packets over one by one, not 64 KB at once, more than a queue holds
CONGESTION_CONTROL = "cubic"  # what devices run, whatever this machine does

_CLONE_NEWNET = 0x40000000
T = TypeVar("T")


@dataclass(frozen=True)
class NamespacePair:
    """Two namespaces, by their names for `ip netns exec`."""

    device: str
    edge: str


def available() -> str | None:
    """Return why there can be no namespaces here, or None if there can."""
    if not sys.platform.startswith("linux"):
        return "network namespaces need Linux"
    if missing := [tool for tool in ("ip", "tc") if shutil.which(tool) is None]:
        return f"{' and '.join(missing)} not found: install iproute2"
    if os.geteuid() != 0:
        return "network namespaces need root: run it with sudo"
    try:
        with namespace_pair():
            return None
    except ConfigError as error:
        return str(error)


@contextmanager
def namespace_pair() -> Iterator[NamespacePair]:
    """Make two joined namespaces for as long as the block lasts. Their link carries a gigabit until it is shaped.

    Ctrl+C, SIGTERM and SIGHUP end the block. Raises ConfigError where this is not possible.
    """
    name = f"slimsplit-{os.getpid()}-{secrets.token_hex(3)}"
    pair = NamespacePair(f"{name}-device", f"{name}-edge")
    with unwound_by_signals() as signals:
        try:
            _lay_cable(pair)
            yield pair
        finally:
            signals.held = True  # until everything is removed
            for namespace in (pair.device, pair.edge):
                with suppress(ConfigError):  # it was not made
                    run_tool("ip", "netns", "delete", namespace)


def _lay_cable(pair: NamespacePair) -> None:
    for namespace in (pair.device, pair.edge):
        run_tool("ip", "netns", "add", namespace)
        run_tool("ip", "-n", namespace, "link", "set", "lo", "up")
        call_inside(namespace, _choose_congestion_control)
    ends = [("name", INTERFACE, "netns", namespace) for namespace in (pair.device, pair.edge)]
    run_tool("ip", "link", "add", *ends[0], "type", "veth", "peer", *ends[1])
    for namespace, address in ((pair.device, DEVICE_ADDRESS), (pair.edge, EDGE_ADDRESS)):
        run_tool("ip", "-n", namespace, "address", "add", f"{address}/30", "dev", INTERFACE)
        run_tool("ip", "-n", namespace, "link", "set", INTERFACE, "up", *SINGLE_PACKETS)
    run_tool("tc", "-n", pair.device, *OPEN.tc_command(INTERFACE, OPEN.burst_bytes).split())


def _choose_congestion_control() -> None:
    """Set it for one namespace; a kernel without it keeps its own."""
    with suppress(OSError):
        Path("/proc/sys/net/ipv4/tcp_congestion_control").write_text(CONGESTION_CONTROL)


def run_tool(*command: str) -> None:
    """Run ip or tc. Raises ConfigError with what it said if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise ConfigError(f"`{' '.join(command)}` failed: {done.stderr.strip() or 'no reason given'}")


def call_inside(namespace: str, function: Callable[[], T]) -> T:
    """Call a function in a namespace: its sockets and children belong there for good. Raises what it raises."""
    outcome: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            _enter(namespace)
            outcome.append(function())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run)  # a thread can be elsewhere than its process
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return outcome[0]


def _enter(namespace: str) -> None:
    """Move the calling thread into a namespace (os.setns came with Python 3.12)."""
    library = ctypes.CDLL(None, use_errno=True)
    with Path("/run/netns", namespace).open("rb") as file:
        if library.setns(file.fileno(), _CLONE_NEWNET) != 0:
            raise ConfigError(f"namespace {namespace} cannot be entered: {os.strerror(ctypes.get_errno())}")
