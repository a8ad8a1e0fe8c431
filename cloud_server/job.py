"""A frame on its way through the engine, the model that it is for, and the answers that end it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from cloud_server.scheduling.batcher import Request
from splitnet.codec.references import ReferenceStore
from splitnet.detections import Detections
from splitnet.errors import DeadlineExceededError, ShedError, SplitError
from splitnet.messages import Frame, FrameDetections, FrameError, ServerTiming
from splitnet.operating_point import Mode
from splitnet.wire.statuses import status_of

logger = logging.getLogger(__name__)

Answer = FrameDetections | FrameError
Found = Detections | tuple[Detections, ...]  # of one bundle, or of each that a session has asked for
D = TypeVar("D")  # a decoded frame, which only the model looks into


# Called once, on the event loop. It is told the job, so that nobody's callback has to hold it: a job that held itself
# would keep its payload until Python looks for cycles.
OnAnswer = Callable[["Job[Any]", Answer], None]


class Model(Protocol[D]):
    """What the engine needs of a bundle."""

    @property
    def digest(self) -> str:
        """The bundle's digest."""

    @property
    def computed_as(self) -> str:
        """What decides how its frames are computed: those of one kind share batches."""

    @property
    def modes(self) -> Sequence[Mode]:
        """The modes it can compute."""

    @property
    def each_size_differs(self) -> bool:
        """Whether every batch size is slow the first time, not only the first batch of all."""

    def prepare(self) -> None:
        """Move to the device. Called once, on the engine's thread."""

    def blank(self, mode: Mode) -> D:
        """Return a decoded frame to warm up with."""

    def decode(self, frame: Frame, references: ReferenceStore | None = None) -> D:
        """Turn a payload into what a batch is made of. Called on any thread. Raises SplitError.

        references: the earlier frames of its session, on which it may build, and among which it is kept.
        """

    def infer(self, mode: Mode, batch: Sequence[D]) -> Sequence[Found]:
        """Return what is found in each decoded frame. Called on the engine's thread only."""


@dataclass(eq=False)
class Job(Request, Generic[D]):
    """A frame on its way through the engine."""

    model: Model[D] = field(kw_only=True)
    frame: Frame = field(kw_only=True)
    on_answer: OnAnswer = field(kw_only=True)
    references: ReferenceStore | None = None  # of its session
    decoded: D | None = None
    decode_s: float = 0.0
    queue_depth: int = 0  # when it was admitted, this one included
    cancelled: bool = False  # nobody waits for the answer any more

    @property
    def mode(self) -> Mode:
        """How the frame was encoded."""
        return self.frame.operating_point.mode


def detections_answer(job: Job[Any], found: Found, start: float, end: float) -> FrameDetections:
    """Return what was found in a frame, whose batch was computed from `start` to `end` in seconds."""
    wait_s = max(0.0, start - job.arrived_at - job.decode_s)
    timing = ServerTiming(wait_s * 1000, job.decode_s * 1000, (end - start) * 1000)
    frame = job.frame
    first, *further = found if isinstance(found, tuple) else (found,)
    return FrameDetections(frame.frame_id, frame.capture_time_us, first, timing, tuple(further), frame.layers)


def expired_answer(job: Job[Any]) -> FrameError:
    """Return the answer to a frame whose deadline has passed."""
    message = f"the frame waited on the server until its deadline of {job.frame.deadline_ms} ms had passed"
    return failure_answer(job, DeadlineExceededError(message))


def hopeless_answer(job: Job[Any]) -> FrameError:
    """Return the answer to a frame whose deadline would have passed."""
    message = f"the frame would be late: its deadline of {job.frame.deadline_ms} ms leaves no time to compute it"
    return failure_answer(job, ShedError(f"{message}. Allow more time, or send fewer frames"))


def failure_answer(job: Job[Any], error: Exception) -> FrameError:
    """Return the answer to a frame that could not be computed; what is not meant for the device is logged."""
    if not isinstance(error, SplitError):
        who = {"frame_id": job.frame.frame_id, "payer": str(job.session)}
        logger.error("frame failed", exc_info=error, extra=who)
        error = SplitError("the server failed on this frame; its log says why")
    return error_answer(job.frame.frame_id, job.frame.capture_time_us, error)


def error_answer(frame_id: int, capture_time_us: int, error: SplitError) -> FrameError:
    """Return the answer that tells a device what was wrong with a frame."""
    return FrameError(frame_id, capture_time_us, status_of(error), str(error))


def hand_over(answers: list[tuple[Job[Any], Answer]]) -> None:
    """Give answers to those who wait, on the event loop, where `cancelled` is set too: none follows a cancellation."""
    for job, answer in answers:
        if not job.cancelled:
            job.on_answer(job, answer)
