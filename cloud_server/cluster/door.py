"""A replica's door: daemons that know its token come in by lines, and their batches are computed one at a time."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress

from cloud_server.cluster.line import Answer, Line, Place, Question, ReplicaFacts
from cloud_server.compute.decoded_frame import DecodedFrame
from splitnet.detections import Detections
from splitnet.operating_point import Mode

MAX_LINES = 128  # two for each daemon that shares the cluster
STUCK_S = 10.0  # a batch that takes longer never ends

Infer = Callable[[Mode, Sequence[DecodedFrame]], list[Detections]]


class Door:
    """Listens from when it is made. A batch is unpickled while another is computed."""

    def __init__(self, host: str, infer: Infer, facts: Callable[[], ReplicaFacts]) -> None:
        """Take the address to listen at, what computes a batch, and what describes the replica."""
        self._infer, self._facts = infer, facts
        self._listener = socket.create_server((host, 0), backlog=MAX_LINES)
        self._host, self._port = self._listener.getsockname()[:2]
        self._token = secrets.token_bytes(32)
        self._computing = threading.Lock()
        self._since: float | None = None  # when the batch began that is computed now
        self._guard = threading.Lock()
        self._is_open = True
        self._lines: set[Line] = set()
        threading.Thread(target=self._accept, name="door", daemon=True).start()

    def place(self, key: str) -> Place:
        """Return where and as what daemons reach it. key: of the bundle that it computes."""
        return Place(key, self._facts().replica, self._host, self._port, self._token)

    @property
    def is_stuck(self) -> bool:
        """Whether a batch is computed that should have ended long ago."""
        since = self._since
        return since is not None and time.monotonic() - since > STUCK_S

    def close(self) -> None:
        """Let nobody in any more, and hang up once the batch that is computed now is answered."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()
        with self._computing, self._guard:
            self._is_open = False
            for line in self._lines:
                line.hang_up()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                end = self._listener.accept()[0]
                threading.Thread(target=self._serve, args=(end,), name="line", daemon=True).start()

    def _serve(self, end: socket.socket) -> None:
        with end, suppress(OSError), closing(Line(end)) as line:
            with self._guard:
                if not self._is_open or len(self._lines) >= MAX_LINES:
                    return
                self._lines.add(line)
            try:
                line.greet(self._token, answers_first=False)
                while isinstance(question := line.receive(), Question):
                    self._answer(line, question)
            finally:
                with self._guard:
                    self._lines.discard(line)

    def _answer(self, line: Line, question: Question) -> None:
        with self._computing:
            if line.is_over:
                return  # nobody waits for it any more
            self._since = time.monotonic()
            try:
                answer = Answer(self._facts(), self._infer(question.mode, question.frames))
            except Exception as error:
                answer = Answer(self._facts(), refused=f"{type(error).__name__}: {error}")
            finally:
                self._since = None
            line.send(answer)
