"""Frames on their way to the server and what comes back: the event loop's part of the pipeline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_client.adaptation.layer_sender import LayerSender, Ready
from edge_client.adaptation.way_there import WayThere
from edge_client.capture.mailbox import Mailbox
from edge_client.encoding.references import SentReferences
from edge_client.frames import CapturedFrame, FrameResult, SentFrame
from edge_client.ledger import FrameLedger
from edge_client.transport.connection import Connection
from edge_client.transport.dialing import FirstOpener
from edge_client.transport.in_flight import InFlight
from splitnet.backoff import Backoff
from splitnet.device_status import DeviceStatus
from splitnet.errors import SplitError
from splitnet.messages import Ack, Draining, Frame, FrameDetections, FrameError, Layer, OpenSession, Reply
from splitnet.operating_point import Codec

logger = logging.getLogger(__name__)

SILENCE_S = 1.0  # without an ack for this long, and for twice the predicted time, the link is dead

Deliver = Callable[[FrameResult, Callable[[], None]], None]


@dataclass(frozen=True)
class UplinkSettings:
    """Where frames go, and how long they may take."""

    servers: Sequence[str]  # host:port, the preferred one first
    deadline_ms: float  # 0: none
    answer_timeout_s: float  # then a frame is lost, and the session is reopened
    needed: bool = True  # whether the run is over when no server will ever take us
    forgives: Callable[[SplitError], bool] = lambda error: False  # whether that may change yet
    in_group: bool = False  # the server waits for other devices' parts until the deadline


class Uplink:
    """Sends frames, takes answers, and opens and closes the mailbox with the link.

    Use it from the event loop's thread only. A frame occupies a place of the mailbox until its fate is known.
    """

    def __init__(
        self,
        settings: UplinkSettings,
        opening: OpenSession,
        ledger: FrameLedger,
        mailbox: Mailbox[CapturedFrame],
        deliver: Deliver,
        clock: Callable[[], float],
        backoff: Backoff,
        opener: FirstOpener,
        references: SentReferences,
    ) -> None:
        """Take what to call with each result and the function that frees its frame's place."""
        self._settings = settings
        self._ledger = ledger
        self._mailbox = mailbox
        self._deliver = deliver
        self._clock = clock
        self._references = references
        self._in_flight = InFlight(self._give_up)
        self._way = WayThere()
        self._layers: LayerSender[bytes] = LayerSender()
        self._connection = Connection(
            settings.servers, opening, self, backoff, opener, settings.needed, settings.forgives
        )

    @property
    def in_flight(self) -> int:
        """The number of frames that await their answer."""
        return len(self._in_flight)

    @property
    def max_layers(self) -> int:
        """The number of layers that the server takes a frame in; 0: whole frames only."""
        return self._connection.max_layers

    async def run(self) -> None:
        """Keep a session open until `end`. Raises a ProtocolError when no server will ever take us."""
        self._ledger.link_sought()
        await self._connection.run()

    async def end(self, running: asyncio.Task[None]) -> None:
        """End `run`, which is running as this task; what is still in flight is lost."""
        await self._connection.end(running)
        self._lose_all()

    def renew(self) -> None:
        """Go on over a new channel: what has been sent is still answered on the old one."""
        self._mailbox.pause()
        self._connection.leave_session(self._settings.answer_timeout_s)

    def switch(self, opening: OpenSession) -> None:
        """Go on with another bundle: what has been sent is still answered."""
        self._mailbox.pause()
        self._connection.switch(opening, self._settings.answer_timeout_s)

    async def wait_until_empty(self) -> None:
        """Wait until every frame is answered or lost."""
        await self._in_flight.wait_until_empty()

    def send(self, sent: SentFrame) -> None:
        """Send a frame; it is lost if there is no session any more."""
        if (before := self._in_flight.pop(sent.frame.frame_id)) is not None:
            self._lose(before)  # of a camera that has begun to count anew
        if self._connection.send(self._message(sent)):
            self._in_flight.add(sent, self._silence_s(sent))
            self._way.sent(self._clock(), sent.frame.frame_id)
            self._ledger.sent(sent)
            if sent.encoded.layers:
                self._send_layers(self._layers.add(self._clock(), *self._layers_of(sent)))
        else:
            self._lose(sent)

    def _layers_of(self, sent: SentFrame) -> tuple[int, tuple[bytes, ...], float]:
        """Return a frame's id, its layers, and the time after which none of them can be of use."""
        predicted, deadline_s = sent.chosen.decision.predicted, self._settings.deadline_ms / 1000
        back_s = 0.0 if predicted is None else (predicted.propagate_ms + predicted.server_ms) / 1000
        until = sent.frame.capture_time + deadline_s - back_s if deadline_s else float("inf")
        return sent.frame.frame_id, sent.encoded.layers, until

    def _send_layers(self, ready: Sequence[Ready[bytes]]) -> None:
        """Send layers; the first of a frame is sent as the frame."""
        for frame_id, layer, payload in ready:
            if layer and self._connection.send(Layer(frame_id, layer, payload)):
                self._ledger.layer_sent(frame_id, layer, len(payload))

    def report(self, make: Callable[[], DeviceStatus]) -> None:
        """Tell the server how this device is doing, if it wants to know."""
        self._connection.report(make)

    def _silence_s(self, sent: SentFrame) -> float:
        """Return how long to wait for a frame's ack: TCP alone would find a link that has come back too late."""
        predicted, longest_s = sent.chosen.decision.predicted, self._settings.answer_timeout_s
        return longest_s if predicted is None else min(longest_s, max(SILENCE_S, 2 * predicted.total_ms / 1000))

    def _message(self, sent: SentFrame) -> Frame:
        height, width = sent.frame.image.shape[:2]
        layers, now = sent.encoded.layers, self._clock()
        return Frame(
            frame_id=sent.frame.frame_id,
            capture_time_us=round(sent.frame.capture_time * 1e6),
            operating_point=sent.encoded.point,
            payload=layers[0] if layers else sent.encoded.payload,
            frame_width=width,
            frame_height=height,
            deadline_ms=self._remaining_ms(sent, now),
            layers=len(layers),
            sent_time_us=round(now * 1e6) if layers else 0,
            group_stream=sent.frame.stream,
        )

    def _remaining_ms(self, sent: SentFrame, now: float) -> int:
        """Return what is left of the deadline, as the server counts from arrival; 0 means none.

        For a frame in layers, or of a group, the server waits until the deadline, so the way there and back is taken
        off.
        """
        if not self._settings.deadline_ms:
            return 0
        age_ms = (now - sent.frame.capture_time) * 1000
        predicted = sent.chosen.decision.predicted
        way_ms = predicted.propagate_ms if sent.encoded.layers and predicted is not None else 0.0
        if self._settings.in_group:
            way_ms = self._way.ms
        return max(1, int(self._settings.deadline_ms - age_ms - way_ms))

    def link_up(self, server: str, references_kept: int, codecs: frozenset[Codec] | None = None) -> None:
        """Let frames go: a session is open."""
        self._references.allow(references_kept)
        self._ledger.link_up(server, codecs)
        self._mailbox.resume()

    def link_down(self) -> None:
        """Let no frame go any more; those in flight are lost."""
        self._mailbox.pause()
        self._references.forget()
        self._layers.clear()
        self._ledger.link_down()
        self._lose_all()

    def receive(self, reply: Reply) -> None:
        """Take a reply of the server."""
        if isinstance(reply, Ack):
            self._in_flight.extend(reply.frame_id, self._settings.answer_timeout_s)  # from here on it is the server
            self._way.acked(self._clock(), reply.frame_id)
            self._ledger.acked(reply)
            self._send_layers(self._layers.acked(self._clock(), reply.frame_id, reply.layer))
        elif isinstance(reply, FrameDetections):
            self._answer(reply)
        elif isinstance(reply, FrameError):
            self._refuse(reply)
        elif isinstance(reply, Draining):
            logger.warning("the server is shutting down; nothing is sent until one can be reached again")
            self._mailbox.pause()
            self._connection.leave_session(reply.grace_ms / 1000)

    def _answer(self, reply: FrameDetections) -> None:
        sent = self._in_flight.pop(reply.frame_id)
        self._layers.forget(reply.frame_id)
        if sent is not None:  # else it was given up already
            if reply.layers_used == len(sent.encoded.layers):  # else the server has not decoded all of it
                self._references.answered(reply.frame_id)
            self._deliver(self._ledger.answered(sent, reply), self._mailbox.release)

    def _refuse(self, reply: FrameError) -> None:
        sent = self._in_flight.pop(reply.frame_id)
        self._layers.forget(reply.frame_id)
        if sent is None:
            return
        self._references.forget()
        if self._ledger.refused(sent, reply):  # later ones are only counted
            kind, frame = reply.status.name.lower(), {"frame_id": reply.frame_id}
            logger.warning("the server refused frame %d (%s): %s", reply.frame_id, kind, reply.message, extra=frame)
        self._mailbox.release()

    def _give_up(self, frame_id: int) -> None:
        logger.warning("frame %d is unanswered: the link is silent", frame_id, extra={"frame_id": frame_id})
        self._connection.break_session()

    def _lose(self, sent: SentFrame) -> None:
        self._ledger.lost(sent)
        self._mailbox.release()

    def _lose_all(self) -> None:
        for sent in self._in_flight.pop_all():
            self._lose(sent)
