"""Keeps a session with one of the servers open: reopens it with back-off, for as long as the run lasts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from edge_client.transport.dialing import FirstOpener
from edge_client.transport.servers import Servers
from edge_client.transport.session import Session
from splitnet.backoff import Backoff
from splitnet.device_status import DeviceStatus
from splitnet.errors import LinkError, SplitError
from splitnet.messages import Frame, FrameDetections, Layer, OpenSession, Reply
from splitnet.operating_point import Codec

logger = logging.getLogger(__name__)

LONGEST_GRACE_S = 60.0  # for a server that shuts down and promises the answers that are due
FINISH_TIMEOUT_S = 1.0  # how long the server may take to close a finished stream


class Listener(Protocol):
    """Is told what happens on the link, in the event loop's thread."""

    def link_up(self, server: str, references_kept: int, codecs: frozenset[Codec] | None) -> None:
        """Learn that a session is open, with whom, and how many frames it keeps to build on."""
        ...

    def link_down(self) -> None:
        """Learn that the session is over, and with it every frame in flight."""
        ...

    def receive(self, reply: Reply) -> None:
        """Take a reply."""
        ...


class Connection:
    """At most one session at a time. Use it from the event loop's thread only."""

    def __init__(
        self,
        servers: Sequence[str],
        opening: OpenSession,
        listener: Listener,
        backoff: Backoff,
        opener: FirstOpener,
        needed: bool = True,
        forgives: Callable[[SplitError], bool] = lambda error: False,
    ) -> None:
        """Take the servers, the preferred one first, and what opens a session with the first that can be reached.

        needed: whether the run is over when none of them will ever take us; otherwise they are asked again and again.
        forgives: says of a server that will not take us whether that may change yet.
        """
        self._servers = Servers(servers)
        self._used = servers[0]  # by the latest session
        self._tried: Sequence[str] = servers  # whom a failure is about
        self._opening = opening
        self._listener = listener
        self._backoff = backoff
        self._opener = opener
        self._session: Session | None = None
        self._ended = asyncio.Event()
        self._needed = needed
        self._forgives = forgives
        self._hurries = False  # the next session follows at once
        self._switches = False  # and is of another bundle: nothing to warn of
        self._reported: type[SplitError] | None = None  # the kind of the failure that the user has been told of
        self._refused: set[str] = set()  # servers that did what will not pass, since any has served

    async def run(self) -> None:
        """Keep a session open until `end`. Raises a ProtocolError if one is needed and no server will ever take us."""
        while not self._ended.is_set():
            try:
                await self._hold_session()
            except SplitError as error:
                self._note(error)
                self._report(error)
            pause_s, self._hurries = 0.0 if self._hurries else self._backoff.next_delay_s(), False
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._ended.wait(), pause_s)

    @property
    def max_layers(self) -> int:
        """The number of layers that the server takes a frame in; 0: whole frames only, or there is no session."""
        return 0 if self._session is None else self._session.max_layers

    def send(self, frame: Frame | Layer) -> bool:
        """Send a frame or a layer; return False if no session is open."""
        if self._session is None:
            return False
        self._session.send(frame)
        return True

    def report(self, make: Callable[[], DeviceStatus]) -> None:
        """Send the status that `make` makes, if the server takes one now; it is not made in vain."""
        if self._session is not None and self._session.takes_status:
            self._session.send(make())

    def break_session(self) -> None:
        """Give the session up, because the server no longer answers; another one is opened, elsewhere if possible."""
        if self._session is not None:
            self._session.abort()

    def leave_session(self, grace_s: float) -> None:
        """Finish the session; another one is opened after its last answer."""
        session = self._session
        if session is not None:
            self._reported = LinkError  # by whoever has called this
            session.finish()
            longest_s = min(grace_s, LONGEST_GRACE_S) + FINISH_TIMEOUT_S
            asyncio.get_running_loop().call_later(longest_s, session.abort)

    def switch(self, opening: OpenSession, grace_s: float) -> None:
        """Go on with sessions of another bundle: what has been sent is still answered in the one that is open."""
        self._opening = opening
        self._refused.clear()
        self._hurries = self._switches = self._session is not None
        self.leave_session(grace_s)

    async def end(self, running: asyncio.Task[None]) -> None:
        """Finish the session politely and end `run`, which is running as this task."""
        self._ended.set()
        if self._session is not None:
            self._session.finish()
            await asyncio.wait({running}, timeout=FINISH_TIMEOUT_S)
        running.cancel()
        await asyncio.wait({running})

    async def _hold_session(self) -> None:
        self._tried = self._servers.order
        async with self._opener(self._tried, self._opening) as session:
            self._session = session
            self._say_up(session.server, session.id)
            self._listener.link_up(session.server, session.references_kept, session.codecs)
            try:
                await self._listen(session)
            finally:
                self._session = None
                self._servers.failed(session.server)
                self._listener.link_down()
        if not self._ended.is_set():
            raise LinkError("the server has closed the session")

    async def _listen(self, session: Session) -> None:
        async for reply in session.replies():
            if isinstance(reply, FrameDetections):
                self._backoff.reset()  # a server that only opens sessions does not count as well
                self._servers.served()
                self._refused.clear()
            self._listener.receive(reply)

    def _say_up(self, server: str, session_id: str) -> None:
        if server != self._used:
            logger.warning("connected to %s instead of %s", server, self._used)
        elif self._reported and not self._switches:
            logger.warning("connected to %s again", server)
        logger.info("session opened with %s", server, extra={"session": session_id})
        self._switches = False
        self._used = server
        self._tried = (server,)
        self._reported = None

    def _note(self, error: SplitError) -> None:
        """Remember who will never take us: another server or the own detector may make good for it. May raise it."""
        if not isinstance(error, LinkError) and not self._forgives(error):
            self._refused.update(self._tried)
            if self._needed and self._refused.issuperset(self._servers.order):
                raise error

    def _report(self, error: SplitError) -> None:
        """Warn once an outage, not once an attempt; again when something else is the matter."""
        kind = LinkError if isinstance(error, LinkError) else type(error)
        if kind is not self._reported and not self._ended.is_set():
            how = "trying again" if self._needed else "this device detects alone and goes on asking"
            logger.warning("no link to %s, %s: %s", " or ".join(self._tried), how, error)
        self._reported = kind
