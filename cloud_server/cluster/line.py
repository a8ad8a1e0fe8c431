"""A line: one connection between a daemon and a replica, which carries one batch at a time, there and back.

Both ends prove that they know the replica's token (HMAC, as `multiprocessing` has it) before anything is unpickled.
What they send is neither encrypted nor signed, like all that Ray sends unless its TLS is on.
"""

from __future__ import annotations

import os
import pickle
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge

from cloud_server.compute.decoded_frame import DecodedFrame
from splitnet.detections import Detections
from splitnet.operating_point import Mode

MAX_BYTES = 256 << 20  # of a message: 32 images of 1640 x 1640 are as much
HANDSHAKE_S = 2.0


@dataclass(frozen=True)
class Place:
    """Where a replica answers."""

    key: str  # of the bundle and the way
    replica: str
    host: str
    port: int
    token: bytes = field(repr=False)


@dataclass(frozen=True)
class ReplicaFacts:
    """A replica as it describes itself with every answer."""

    replica: str
    node: str
    memory_mb: float  # resident


@dataclass(frozen=True)
class Question:
    """A batch."""

    mode: Mode
    frames: Sequence[DecodedFrame]


@dataclass(frozen=True)
class Answer:
    """What each frame of a batch shows; or why it could not be computed."""

    by: ReplicaFacts
    detections: Sequence[Detections] = ()
    refused: str = ""


class Line:
    """One end, for one thread at a time. Raises OSError when the other end is gone, TimeoutError when it is late."""

    def __init__(self, end: socket.socket) -> None:
        """Take a connected socket, which is closed with the line."""
        end.setblocking(True)
        if end.family in (socket.AF_INET, socket.AF_INET6):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = end
        self._connection: Connection = Connection(os.dup(end.fileno()))

    def greet(self, token: bytes, answers_first: bool) -> None:
        """Prove to the other end that this one knows the token, and let it prove the same. Else OSError.

        answers_first: whether this is the end that has dialled.
        """
        self._patience(HANDSHAKE_S)
        steps = [answer_challenge, deliver_challenge] if answers_first else [deliver_challenge, answer_challenge]
        try:
            for step in steps:
                step(self._connection, token)
        except (AuthenticationError, AssertionError, EOFError) as error:
            raise ConnectionRefusedError("the other end does not know the token") from error
        self._patience(0.0)

    def send(self, message: Question | Answer, timeout_s: float = 0.0) -> None:
        """Send a message; timeout_s: how long the other end may keep it from leaving, for ever if 0."""
        self._patience(timeout_s)
        try:
            self._connection.send(message)
        except BlockingIOError:
            raise TimeoutError from None

    def receive(self, timeout_s: float | None = None) -> Question | Answer:
        """Return the next message, waiting at most timeout_s for it; for ever without."""
        if not self._connection.poll(timeout_s):
            raise TimeoutError
        try:
            message: Question | Answer = pickle.loads(self._connection.recv_bytes(MAX_BYTES))
        except BlockingIOError:
            raise TimeoutError from None
        except (EOFError, pickle.UnpicklingError) as error:
            raise ConnectionResetError("the other end has hung up") from error
        return message

    @property
    def is_over(self) -> bool:
        """Whether the other end has hung up, or talks out of turn, while it should wait for an answer."""
        return self._connection.poll(0.0)

    def hang_up(self) -> None:
        """Let whoever uses the line now get an OSError; it is his to close. May be called on any thread."""
        with suppress(OSError):  # the other end was first
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Hang up, and let go of what it holds."""
        self.hang_up()
        self._socket.close()
        self._connection.close()

    def _patience(self, seconds: float) -> None:
        """Let reads and writes of the kernel end after a time; 0: never."""
        value = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, value)


def dial(place: Place) -> Line:
    """Return a line to a replica. OSError if it is not there, does not answer, or is not the one that was meant."""
    line = Line(socket.create_connection((place.host, place.port), HANDSHAKE_S))
    try:
        line.greet(place.token, answers_first=True)
    except OSError:
        line.close()
        raise
    return line
