"""The daemon's end of the cluster: batches go out, answers come back, and nothing here waits longer than it was told.

Batches go straight to replicas, by lines; the connector, where Ray is, only says where those are. A call has a deadline
of its own. When several calls in a row come to nothing, further ones are held back for a while and fail at once, so
that the daemon computes itself; one is tried now and then. When the connector is gone, another one is started.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as WaitTimeoutError
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from cloud_server.cluster.breaker import Breaker
from cloud_server.cluster.line import Line, Place, Question, ReplicaFacts, dial
from cloud_server.cluster.lines import Lines
from cloud_server.cluster.messages import (
    Connected,
    Deploy,
    Deployed,
    Refused,
    Reply,
    Report,
    Request,
    Retire,
    Start,
)
from cloud_server.cluster.scaling import PLACES, Load
from cloud_server.compute.decoded_frame import DecodedFrame
from splitnet.detections import Detections
from splitnet.errors import ClusterError
from splitnet.operating_point import Mode

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0  # before another connector
KEPT_REPLICAS = 64  # that figures are kept of
END_S = 5.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClusterConfig:
    """Where the cluster is, and how it is used."""

    address: str = ""  # of its head; empty: a Ray of this machine, for this daemon alone
    least_replicas: int = 2
    most_replicas: int = 2
    timeout_s: float = 1.0  # of a batch


def start_connector(end: socket.socket) -> subprocess.Popen[bytes]:
    """Start a connector that talks through a socket. No signal of this terminal reaches it."""
    number = end.fileno()
    return subprocess.Popen(
        [sys.executable, "-m", "cloud_server.cluster.connector", str(number)],
        pass_fds=[number],
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # Ray has logs of its own; what matters comes as a message
        start_new_session=True,
    )


class ClusterLink:
    """Batches for replicas. Thread-safe."""

    def __init__(
        self,
        config: ClusterConfig,
        start_process: Callable[[socket.socket], subprocess.Popen[bytes]] = start_connector,
        clock: Callable[[], float] = time.monotonic,
        dial: Callable[[Place], Line] = dial,
    ) -> None:
        """Take the settings, what starts a connector, a clock in seconds, and what reaches a replica."""
        self._config = config
        self._start_process = start_process
        self._clock = clock
        self._front = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._guard = threading.Lock()  # of all that follows
        self._sending = threading.Lock()
        self._socket: socket.socket | None = None  # to the connector, from when it is started
        self._connection: Connection | None = None  # the same, from when there is a cluster
        self._bundles: dict[str, Deploy] = {}
        self._deploying: dict[str, Future[None]] = {}
        self._breaker = Breaker()
        self._busy_s: defaultdict[str, float] = defaultdict(float)
        self._stop = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._lines = Lines(lambda: self.on_change(), dial)
        self.replicas: dict[str, ReplicaFacts] = {}
        self.batches: Counter[str] = Counter()  # by replica
        self.failures = 0
        self.restarts = 0
        self.on_change: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Start connecting; returns at once."""
        threading.Thread(target=self._keep_connected, name="cluster", daemon=True).start()

    def stop(self) -> None:
        """Hang up, and end the connector."""
        self._stop.set()
        self._hang_up()
        self._lines.stop()
        if self._process is not None:
            _end(self._process)

    @property
    def is_up(self) -> bool:
        """Whether batches are sent out."""
        with self._guard:
            return not self._breaker.is_open and bool(self._lines.connected)

    @property
    def running(self) -> Mapping[str, int]:
        """How many replicas of each bundle can be sent batches."""
        return self._lines.connected

    def deploy(self, bundle: Deploy, timeout_s: float) -> None:
        """Let replicas load a bundle. Raises ClusterError if they refuse, or are not there in time.

        Either way the bundle is deployed again to every cluster that comes.
        """
        done: Future[None] = Future()
        with self._guard:
            self._bundles[bundle.key] = bundle
            self._deploying[bundle.key] = done
        self._send(bundle)
        give_up_at = time.monotonic() + timeout_s
        try:
            done.result(timeout_s)
            is_there = self._lines.wait_for(bundle.key, give_up_at - time.monotonic())
        except WaitTimeoutError:
            is_there = False
        if not is_there:
            raise ClusterError(f"the cluster has no replica of {bundle.key} after {timeout_s:g} s")

    def retire(self, key: str) -> None:
        """Let a bundle go."""
        with self._guard:
            self._bundles.pop(key, None)
        self._send(Retire(key))

    def compute(self, key: str, mode: Mode, frames: Sequence[DecodedFrame]) -> list[Detections]:
        """Return what a batch shows. ClusterTimeoutError when nobody answers, ClusterError when it fails at once."""
        now = self._clock()
        with self._guard:
            if not self._lines.connected[key]:
                raise ClusterError("no replica of the bundle is there")
            if not self._breaker.may_call(now):
                raise ClusterError("the cluster does not answer")
        try:
            answer = self._lines.ask(key, Question(mode, frames), self._config.timeout_s)
        except ClusterError:
            self._settle(None)
            raise
        self._settle(answer.by)
        self._busy_s[key] += self._clock() - now
        if answer.refused:
            raise ClusterError(answer.refused)
        return list(answer.detections)

    def report(self, key: str, queue_s: float, within_s: float) -> None:
        """Say how long the frames that wait take; called every `within_s` seconds."""
        busy = self._busy_s.pop(key, 0.0) / within_s / PLACES  # meanwhile it waits for the replica's other batch
        self._send(Report(key, Load(queue_s, busy)))

    def _settle(self, by: ReplicaFacts | None) -> None:
        """Take note of who has answered, or that nobody has."""
        with self._guard:
            was_open = self._breaker.is_open
            if by is None:
                self.failures += 1
                self._breaker.failed(self._clock())
            else:
                self._breaker.succeeded()
                self._count(by)
            changed = was_open != self._breaker.is_open
        if changed:
            self.on_change()

    def _count(self, by: ReplicaFacts) -> None:
        if by.replica not in self.replicas and len(self.replicas) >= KEPT_REPLICAS:
            oldest = next(iter(self.replicas))
            del self.replicas[oldest], self.batches[oldest]
        self.replicas[by.replica] = by
        self.batches[by.replica] += 1

    def _keep_connected(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stop.is_set():
            started = self._clock()
            self._serve_one_connector()
            if self._stop.is_set():
                return
            self.restarts += 1
            pause_s = FIRST_PAUSE_S if self._clock() - started > LONGEST_PAUSE_S else min(2 * pause_s, LONGEST_PAUSE_S)
            logger.warning("the cluster's connector has ended; another follows", extra={"after_s": pause_s})
            self._stop.wait(pause_s)

    def _serve_one_connector(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = self._start_process(theirs)
        config = self._config
        with ours, Connection(os.dup(ours.fileno())) as connection:
            with self._guard:
                self._socket = ours
            with suppress(EOFError, OSError):
                connection.send(Start(config.address, self._front, config.least_replicas, config.most_replicas))
                while not self._stop.is_set():
                    self._take(connection.recv(), connection)
            self._hang_up()
        _end(self._process)

    def _take(self, reply: Reply, connection: Connection) -> None:
        if isinstance(reply, Connected):
            with self._guard:
                self._connection = connection
                bundles = list(self._bundles.values())
            logger.info("cluster", extra={"address": self._config.address or "of this machine", "ray": reply.ray})
            for bundle in bundles:
                self._send(bundle)
            self.on_change()
        elif isinstance(reply, Refused):
            address = self._config.address or "of this machine"
            logger.error("no cluster", extra={"address": address, "reason": reply.reason})
        elif isinstance(reply, Deployed):
            self._note_deployed(reply)
        else:
            self._lines.know(reply.places)

    def _note_deployed(self, reply: Deployed) -> None:
        with self._guard:
            done = self._deploying.pop(reply.key, None)
        if reply.refused:
            logger.error("the cluster cannot run a bundle", extra={"bundle": reply.key, "reason": reply.refused})
        self.on_change()
        if done is not None and reply.refused:
            done.set_exception(ClusterError(reply.refused))
        elif done is not None:
            done.set_result(None)

    def _send(self, request: Request) -> None:
        """Send to the connector that is there; what cannot be sent fails as if it had never been answered."""
        with self._guard:
            connection = self._connection
        if connection is None:
            return
        with self._sending, suppress(OSError):
            connection.send(request)

    def _hang_up(self) -> None:
        """Let the connector go. Lines stay: replicas answer without it, as long as they are there."""
        with self._guard:
            self._connection = None
            ours, self._socket = self._socket, None
        if ours is not None:
            with suppress(OSError):
                ours.shutdown(socket.SHUT_RDWR)  # whoever reads or writes is told; closing is his who reads


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a connector; it goes by itself when the socket is closed."""
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
