"""The cable between two namespaces, made to carry what a trace says: real TCP over an emulated radio link."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from benchmarks.adaptation.namespaces import INTERFACE, NamespacePair, call_inside, run_tool
from benchmarks.adaptation.shaping import OPEN, PacketBudget, queue_bytes_for
from benchmarks.harness.traces import Trace
from splitnet.errors import ConfigError

SLOT_S = 0.1  # shorter ones follow a trace more closely, but the wake-ups of a busy machine then cost 2 % of accuracy
QUEUE_MS = 250.0  # at the mean rate. Modems hold from 100 ms to seconds, and what waits there is late for us anyhow
TC_TIME_S = 0.001  # for tc to do what it was told: it takes 0.2 ms

_WAKE_ETHERTYPE = 0x88B5  # for local experiments (IEEE 802): no network stack answers it
_WAKE_FRAME = bytes(6) + bytes((2, 0, 0, 0, 0, 1)) + _WAKE_ETHERTYPE.to_bytes(2, "big")  # to nobody


@contextmanager
def shaped(pair: NamespacePair, trace: Trace, *, queue_ms: float = QUEUE_MS) -> Iterator[float]:
    """Let the device's uplink follow a trace while the block lasts; yields the monotonic time of its start.

    What comes back from the edge node is not held up. Afterwards the link is open. Raises ConfigError if tc fails.
    """
    queue_bytes = queue_bytes_for(trace.capacity_bps(0, trace.duration_s), queue_ms)
    shaper = LinkShaper(pair, trace, queue_bytes)
    try:
        yield shaper.start()
    finally:
        shaper.stop()


class LinkShaper:
    """Follows a trace from `start` until `stop`.

    A thread wakes for each slot and tells a `tc` that is kept running. Then it puts an empty Ethernet frame into the
    queue: tbf looks at its new rate only when something wakes it, which after an outage may be minutes later.
    """

    def __init__(self, pair: NamespacePair, trace: Trace, queue_bytes: int) -> None:
        self._pair = pair
        self._trace = trace
        self._queue_bytes = queue_bytes
        self._budget = PacketBudget()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="link shaper", daemon=True)
        self._tc, self._waker = call_inside(pair.device, _tools)

    def start(self) -> float:
        """Begin, and return when that was, by the monotonic clock."""
        if (command := self._command(0)) is not None:
            run_tool("tc", "-n", self._pair.device, *command.split())  # the link is shaped when this returns
        self._began = time.monotonic()
        self._thread.start()
        return self._began

    def stop(self) -> None:
        """Open the link again. Raises ConfigError if tc has failed meanwhile."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._tell(OPEN.tc_command(INTERFACE, OPEN.burst_bytes))
        self._waker.close()
        with suppress(OSError):  # it has failed
            self._tc.communicate()
        if self._tc.returncode:
            raise ConfigError("tc has failed to shape the link; what it said stands above")

    def _follow(self) -> None:
        slot = 1
        while not self._stopping.wait(self._began + slot * SLOT_S - time.monotonic()):
            if (command := self._command(slot)) is not None and not self._tell(command):
                return
            slot += 1

    def _command(self, slot: int) -> str | None:
        """Return what tc is told for a slot, if anything."""
        capacity_bps = self._trace.capacity_bps(slot * SLOT_S, (slot + 1) * SLOT_S)
        bucket = self._budget.next_slot(capacity_bps, SLOT_S)
        return None if bucket is None else bucket.tc_command(INTERFACE, self._queue_bytes)

    def _tell(self, command: str) -> bool:
        """Tell tc; returns False if it is gone."""
        assert self._tc.stdin is not None
        try:
            self._tc.stdin.write(command + "\n")
            self._tc.stdin.flush()
        except OSError:  # `stop` says so
            return False
        time.sleep(TC_TIME_S)
        with suppress(OSError):  # the queue is full: trying has woken it just as well
            self._waker.send(_WAKE_FRAME)
        return True


def _tools() -> tuple[subprocess.Popen[str], socket.socket]:
    """Return a tc that reads commands and a socket for whole frames, both in the calling thread's namespace."""
    waker = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    waker.bind((INTERFACE, _WAKE_ETHERTYPE))
    waker.setblocking(False)
    tc = subprocess.Popen(["tc", "-batch", "-"], stdin=subprocess.PIPE, text=True, start_new_session=True)
    return tc, waker
