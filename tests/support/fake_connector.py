"""A connector without Ray: the other end of a daemon's link, played by a test."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import Queue
from typing import cast

from cloud_server.cluster.messages import Connected, Deploy, Deployed, Reply, Request, Start

WAIT_S = 10.0


class FakeConnector:
    """Says that there is a cluster, deploys what it is told, and keeps what else it hears for the test."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = socket.fromfd(end.fileno(), end.family, end.type)
        self._connection = Connection(os.dup(end.fileno()))
        self.others: Queue[Request] = Queue()
        self.refuses = ""
        self.started = cast(Start, self._connection.recv())
        self.say(Connected("a fake"))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def say(self, reply: Reply) -> None:
        self._connection.send(reply)

    def hang_up(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        with self._socket, self._connection, suppress(EOFError, OSError):
            while True:
                request = self._connection.recv()
                if isinstance(request, Deploy):
                    self.say(Deployed(request.key, self.refuses))
                self.others.put(request)


class FakeProcess:
    """What has been started, as far as a link cares."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def wait(self, timeout: float | None = None) -> int:
        self.ended.set()
        return 0

    def kill(self) -> None:
        raise AssertionError("it has ended")


class Connectors:
    """Starts a fake connector for each that a link asks for."""

    def __init__(self) -> None:
        self.made: Queue[FakeConnector] = Queue()
        self.processes: list[FakeProcess] = []

    def __call__(self, end: socket.socket) -> subprocess.Popen[bytes]:
        copy = socket.fromfd(end.fileno(), end.family, end.type)
        threading.Thread(target=self._connect, args=(copy,), daemon=True).start()
        self.processes.append(FakeProcess())
        return cast("subprocess.Popen[bytes]", self.processes[-1])

    def _connect(self, end: socket.socket) -> None:
        with end:
            self.made.put(FakeConnector(end))

    def next(self) -> FakeConnector:
        return self.made.get(timeout=WAIT_S)
