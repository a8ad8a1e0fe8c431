"""Keeps a session with the server open: reopens it with back-off, for as long as the run lasts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Protocol

from edge_client.backoff import Backoff
from edge_client.session import Session, open_session
from splitnet.errors import LinkError
from splitnet.messages import Frame, FrameDetections, OpenSession, Reply

logger = logging.getLogger(__name__)

FINISH_TIMEOUT_S = 1.0  # how long the server may take to close a finished stream

SessionOpener = Callable[[str, OpenSession], AbstractAsyncContextManager[Session]]


class Listener(Protocol):
    """Is told what happens on the link, in the event loop's thread."""

    def link_up(self) -> None:
        """Learn that a session is open."""
        ...

    def link_down(self) -> None:
        """Learn that the session is over, and with it every frame under way."""
        ...

    def receive(self, reply: Reply) -> None:
        """Take a reply."""
        ...


class Connection:
    """At most one session at a time. Use it from the event loop's thread only."""

    def __init__(
        self,
        server: str,
        opening: OpenSession,
        listener: Listener,
        backoff: Backoff,
        opener: SessionOpener = open_session,
    ) -> None:
        self._server = server
        self._opening = opening
        self._listener = listener
        self._backoff = backoff
        self._opener = opener
        self._session: Session | None = None
        self._ended = asyncio.Event()
        self._reported = False

    async def run(self) -> None:
        """Keep a session open until `end`. Raises a ProtocolError when the server will never take us."""
        while not self._ended.is_set():
            try:
                await self._hold_session()
            except LinkError as error:
                self._report(error)
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._ended.wait(), self._backoff.next_delay_s())

    def send(self, frame: Frame) -> bool:
        """Send a frame; return False if no session is open."""
        if self._session is None:
            return False
        self._session.send(frame)
        return True

    def break_session(self) -> None:
        """Give the session up, because the server no longer answers; another one is opened."""
        if self._session is not None:
            self._session.abort()

    def leave_session(self, grace_s: float) -> None:
        """Finish the session, because the server is shutting down; another one is opened after it."""
        session = self._session
        if session is not None:
            session.finish()
            asyncio.get_running_loop().call_later(grace_s + FINISH_TIMEOUT_S, session.abort)

    async def end(self, running: asyncio.Task[None]) -> None:
        """Finish the session politely and end `run`, which is running as this task."""
        self._ended.set()
        if self._session is not None:
            self._session.finish()
            await asyncio.wait({running}, timeout=FINISH_TIMEOUT_S)
        running.cancel()
        await asyncio.wait({running})

    async def _hold_session(self) -> None:
        async with self._opener(self._server, self._opening) as session:
            self._session = session
            self._listener.link_up()
            try:
                await self._listen(session)
            finally:
                self._session = None
                self._listener.link_down()
        if not self._ended.is_set():
            raise LinkError("the server has closed the session")

    async def _listen(self, session: Session) -> None:
        self._say_up()
        async for reply in session.replies():
            if isinstance(reply, FrameDetections):
                self._backoff.reset()  # a server that only opens sessions does not count as well
            self._listener.receive(reply)

    def _say_up(self) -> None:
        if self._reported:
            logger.warning("connected to %s again", self._server)
        self._reported = False

    def _report(self, error: LinkError) -> None:
        """Warn once an outage, not once an attempt."""
        if not self._reported and not self._ended.is_set():
            logger.warning("no link to %s, trying again: %s", self._server, error)
        self._reported = True
