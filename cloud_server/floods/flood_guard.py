"""The thread that looks at the connections of a server, cuts floods, and bars where they come from."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable

from cloud_server.floods.flood_rule import FloodLimits, FloodRule, Seen, Verdict
from cloud_server.floods.flows import Flows
from cloud_server.floods.own_sockets import OwnSockets, can_see
from cloud_server.floods.source_filter import source_filter

LOOK_INTERVAL_S = 0.1
MOST_OF_A_CORE = 0.05  # with many connections it looks less often

logger = logging.getLogger(__name__)


class FloodGuard:
    """Keeps out what gRPC itself does not: headers without end, pings and settings. Does nothing but on Linux."""

    def __init__(self, flows: Flows, limits: FloodLimits) -> None:
        """Take what connections have shown, and what they may do."""
        self.floods = 0  # that were cut, so far
        self._flows = flows
        self._rule = FloodRule(flows, limits)
        self._ended = threading.Event()
        self._barred: tuple[str, ...] = ()

    def start(self, ports: Iterable[int]) -> None:
        """Begin to look at the connections to some ports of this process."""
        self._flows.is_read = can_see()
        if not self._flows.is_read:
            logger.warning("floods below gRPC are not kept out: this system does not show a process its own sockets")
            return
        sockets = OwnSockets(ports)
        threading.Thread(target=self._run, args=(sockets,), name="flood guard", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()

    def _run(self, sockets: OwnSockets) -> None:
        pause_s = LOOK_INTERVAL_S
        while not self._ended.wait(pause_s):
            begin = time.thread_time()
            try:
                self._look(sockets)
            except Exception:  # the next look may do better, and the server goes on
                logger.exception("floods below gRPC were not looked for")
            pause_s = max(LOOK_INTERVAL_S, (time.thread_time() - begin) / MOST_OF_A_CORE)

    def _look(self, sockets: OwnSockets) -> None:
        seen = sockets.look()
        verdict = self._rule.look(time.monotonic(), seen)
        sockets.cut(verdict.cut)
        self._tell(verdict, seen)
        if verdict.barred != self._barred:
            self._barred = verdict.barred
            self._bar(sockets)

    def _bar(self, sockets: OwnSockets) -> None:
        try:
            sockets.bar(source_filter(self._barred))
        except OSError as error:  # those who come are cut all the same
            logger.warning("this system takes no filter of addresses", extra={"reason": error.strerror})

    def _tell(self, verdict: Verdict, seen: Iterable[Seen]) -> None:
        self.floods += len(verdict.floods)
        for address in verdict.floods:
            count = sum(one.peer.address == address and one.id in verdict.cut for one in seen)
            logger.warning("flood cut, and its address barred", extra={"address": address, "connections": count})
