"""A daemon's lines to all replicas: each batch goes to the replica that has the fewest, and to another if that is gone.

Replicas are dialled on threads of their own. One that was late is dialled anew: only a process that runs can greet.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from cloud_server.cluster.line import Answer, Line, Place, Question, dial
from cloud_server.cluster.scaling import PLACES
from splitnet.errors import ClusterError, ClusterTimeoutError

REDIAL_S = 0.5
DIALLERS = 8  # at once

logger = logging.getLogger(__name__)


@dataclass
class _Replica:
    """A replica that is known; every line to it is free or has a batch."""

    place: Place
    free: list[Line] = field(default_factory=list)
    busy: set[int] = field(default_factory=set)  # the ids of lines
    dialled_at: float = 0.0
    dialling: bool = False

    @property
    def is_connected(self) -> bool:
        return bool(self.free or self.busy)


class Lines:
    """Lines to replicas. Thread-safe."""

    def __init__(self, on_change: Callable[[], None], dial: Callable[[Place], Line] = dial) -> None:
        """Take what is called when replicas come or go, and what reaches one."""
        self._on_change, self._dial = on_change, dial
        self._changed = threading.Condition()  # guards all that follows
        self._replicas: dict[str, _Replica] = {}
        self._stopping = False
        self._diallers = ThreadPoolExecutor(DIALLERS, thread_name_prefix="dial")

    def know(self, places: Sequence[Place]) -> None:
        """Take the list of all replicas; who is on it no more gets no more batches. Called again, it redials."""
        now = time.monotonic()
        with self._changed:
            known = {place.replica: place for place in places}
            gone = [self._replicas.pop(name) for name in list(self._replicas) if name not in known]
            for name, place in known.items():
                self._replicas.setdefault(name, _Replica(place))
            due = [one for one in self._replicas.values() if self._is_due(one, now)]
            for one in due:
                one.dialling, one.dialled_at = True, now
        for one in gone:
            _close(one.free)
        for one in due:
            self._diallers.submit(self._connect, one)
        if gone:
            self._on_change()

    @property
    def connected(self) -> Counter[str]:
        """How many replicas of each bundle can be sent batches."""
        with self._changed:
            return Counter(one.place.key for one in self._replicas.values() if one.is_connected)

    def wait_for(self, key: str, timeout_s: float) -> bool:
        """Wait until a replica of a bundle can be sent batches; returns whether one can."""
        with self._changed:
            return self._changed.wait_for(lambda: any(one.is_connected for one in self._of(key)), timeout_s)

    def ask(self, key: str, question: Question, timeout_s: float) -> Answer:
        """Return what a replica says to a batch.

        Raises ClusterTimeoutError when it does not answer in time, ClusterError when no replica is there, or has gone.
        """
        give_up_at = time.monotonic() + timeout_s
        while True:
            replica, line = self._take(key, give_up_at)
            try:
                line.send(question, timeout_s)
                answer = line.receive(max(0.0, give_up_at - time.monotonic()))
                assert isinstance(answer, Answer)
            except TimeoutError:
                self._give_up(replica, line)
                raise ClusterTimeoutError("no replica has answered in time") from None
            except OSError:
                self._give_up(replica, line)  # another one computes it: this one was killed, or retires
            else:
                self._give_back(replica, line)
                return answer

    def stop(self) -> None:
        """Hang up."""
        with self._changed:
            self._stopping = True
        self.know([])
        self._diallers.shutdown(wait=False, cancel_futures=True)

    def _of(self, key: str) -> list[_Replica]:
        return [one for one in self._replicas.values() if one.place.key == key]

    def _is_due(self, one: _Replica, now: float) -> bool:
        return not (self._stopping or one.dialling or one.is_connected) and now - one.dialled_at >= REDIAL_S

    def _connect(self, one: _Replica) -> None:
        lines: list[Line] = []
        try:
            lines.extend(self._dial(one.place) for _ in range(PLACES))
        except OSError as error:
            logger.debug("a replica does not answer", extra={"replica": one.place.replica, "reason": str(error)})
            _close(lines)
            lines = []
        with self._changed:
            one.dialling = False
            wanted = self._replicas.get(one.place.replica) is one
            if wanted:
                one.free.extend(lines)
            self._changed.notify_all()
        if not wanted:
            _close(lines)
        elif lines:
            self._on_change()

    def _take(self, key: str, give_up_at: float) -> tuple[_Replica, Line]:
        """Return a free line of the replica with the fewest batches, waiting for one if all are busy."""
        with self._changed:
            while True:
                connected = [one for one in self._of(key) if one.is_connected]
                if not connected:
                    raise ClusterError("no replica of the bundle is there")
                if free := [one for one in connected if one.free]:
                    replica = min(free, key=lambda one: len(one.busy))
                    line = replica.free.pop()
                    replica.busy.add(id(line))
                    return replica, line
                if not self._changed.wait(give_up_at - time.monotonic()):
                    raise ClusterTimeoutError("all replicas are busy")

    def _give_back(self, replica: _Replica, line: Line) -> None:
        with self._changed:
            kept = id(line) in replica.busy and self._replicas.get(replica.place.replica) is replica
            replica.busy.discard(id(line))
            if kept:
                replica.free.append(line)
            self._changed.notify_all()
        if not kept:
            line.close()

    def _give_up(self, replica: _Replica, line: Line) -> None:
        """Hang up on a replica. Its other batches have until their own deadline; then those lines are closed, too."""
        with self._changed:
            dropped = [line, *replica.free]
            replica.free.clear()
            replica.busy.clear()
            self._changed.notify_all()
        _close(dropped)
        self._on_change()


def _close(lines: Sequence[Line]) -> None:
    for line in lines:
        line.close()
