"""The encoding thread of a pipeline: the newest frame, its operating point, its payload."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from edge_client.adaptation.policy import FrameContext
from edge_client.capture.mailbox import Mailbox
from edge_client.encoding.encoder import EncoderRuntime
from edge_client.encoding.local_detector import LocalThread
from edge_client.encoding.references import SentReferences
from edge_client.frames import CapturedFrame, ChosenFrame, EncodedFrame
from edge_client.ledger import FrameLedger
from edge_client.pipeline_parts import ModelParts
from edge_client.pipeline_settings import PipelineSettings
from edge_client.turns import Turns
from splitnet.operating_point import LOCAL


class Link(Protocol):
    """What the choice of an operating point must know of the way to the server."""

    @property
    def in_flight(self) -> int:
        """Frames that are sent and not answered."""

    @property
    def max_layers(self) -> int:
        """Layers that the server takes a frame in."""


class Step(NamedTuple):
    """What was made of one frame."""

    chosen: ChosenFrame
    has_place: bool  # on the link
    encoded: EncodedFrame | None  # None: it is not sent


@dataclass(frozen=True)
class Around:
    """What is around the thread. link, local: None where frames are not sent, or not detected here."""

    mailbox: Mailbox[CapturedFrame]
    ledger: FrameLedger
    references: SentReferences
    link: Link | None
    local: LocalThread | None
    turns: Turns  # at the encoder, where several cameras share it
    post: Callable[[ChosenFrame, EncodedFrame], None]  # sends a frame, which keeps its place on the link
    took: Callable[[CapturedFrame], object] = lambda frame: None  # is told of a frame before it is encoded


class EncodingLoop:
    """Chooses and encodes frame after frame, by a model that may change between two of them."""

    def __init__(
        self, encoder: EncoderRuntime, settings: PipelineSettings, patience_s: float | None, waits: bool, around: Around
    ) -> None:
        """Take what encodes.

        patience_s: how long a frame waits for a place on the link before it does without; None: as long as it takes.
        waits: whether frames wait for the local detector, so that none is lost.
        """
        self._encoder = encoder
        self._settings = settings
        self._patience_s, self._waits = patience_s, waits
        self._around = around
        self._model = threading.Lock()  # held while a frame is chosen and encoded
        self._last_frame = 0
        self.encoded = 0  # frames

    @property
    def is_busy(self) -> bool:
        """Whether a frame is being encoded."""
        return self._model.locked()

    def use(self, parts: ModelParts, used: Callable[[], object]) -> int:
        """Go on with another model from the next frame on; returns the id of the last one before.

        Waits while a frame is encoded. used: called before the next one is looked at. From any thread.
        """
        around = self._around
        with self._model:
            around.mailbox.pause()
            self._encoder = parts.encoder
            around.ledger.use(parts.policy)
            around.references.forget()
            if around.local is not None and parts.local is not None:
                around.local.use(parts.local)
            used()
            return self._last_frame

    def run(self) -> None:
        """Work until the mailbox is closed. In a thread of its own."""
        mailbox, count = self._around.mailbox, 0
        while mailbox.wait(self._patience_s):
            with self._model:
                with self._around.turns:
                    taken = mailbox.take_now(self._patience_s is not None)  # the newest, once it is our turn
                    if taken is not None:
                        self._around.took(taken[0])
                    step = None if taken is None else self._choose_and_encode(*taken)
                if step is None:
                    continue
                self._go_on(step)
            count += 1
            if count == self._settings.max_frames:
                mailbox.close()

    def _choose_and_encode(self, frame: CapturedFrame, has_place: bool) -> Step:
        ledger = self._around.ledger
        can_send = has_place and not self._around.mailbox.is_paused  # its place may be that of the model before
        self._last_frame = frame.frame_id
        chosen = ledger.choose(frame, self._context(frame, can_send))
        if not chosen.decision.point.is_sent:
            return Step(chosen, has_place, None)
        stands_alone = self._settings.whole_frames or self._settings.place is not None
        references = None if stands_alone else self._around.references
        layers = chosen.decision.layers
        encoded = self._encoder.encode(frame.image, chosen.decision.point, frame.frame_id, references, layers)
        self.encoded += 1
        ledger.encoded(chosen, encoded)
        return Step(chosen, has_place, encoded)

    def _context(self, frame: CapturedFrame, can_send: bool) -> FrameContext:
        link, local = self._around.link, self._around.local
        return FrameContext(
            frame_id=frame.frame_id,
            capture_time=frame.capture_time,
            deadline_ms=self._settings.deadline_ms,
            in_flight=(link.in_flight if link else 0) + 1,
            can_send=can_send,
            local_pending=0 if local is None else local.pending,
            max_layers=link.max_layers if link and self._settings.in_layers else 0,
        )

    def _go_on(self, step: Step) -> None:
        """Do with a frame as was chosen; only what is sent keeps its place on the link."""
        if step.encoded is not None:
            self._around.post(step.chosen, step.encoded)
            return
        if step.has_place:
            self._around.mailbox.release()
        if step.chosen.decision.point == LOCAL:
            assert self._around.local is not None
            self._around.local.submit(step.chosen, wait=self._waits)
        else:
            self._around.ledger.skipped(step.chosen)
