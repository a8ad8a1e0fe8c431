"""A probe of the way to a server: round trip, capacity and the server's times, from a few frames."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_client.encoding.encoder import EncoderRuntime
from edge_client.frames import EncodedFrame, Image
from edge_client.percentiles import percentile
from edge_client.transport.credentials import Credentials
from edge_client.transport.session import Session, open_session
from splitnet.errors import LinkError, ProtocolError
from splitnet.messages import Ack, Frame, FrameDetections, FrameError, OpenSession, ServerTiming
from splitnet.operating_point import Codec, Mode, OperatingPoint

ANSWER_TIMEOUT_S = 10.0
ALONE = 5  # frames of each kind sent one at a time
BURST = 6  # frames sent at once
IMAGE_QUALITY = 75  # tens of KB an image: enough to fill a link
LEAST_SPAN_S = 1e-4  # of the server's clock between the first and the last of a burst; below it, the link has no limit
MOST_BPS = 1e9


@dataclass(frozen=True)
class LinkMeasurement:
    """The way to a server. Times in milliseconds."""

    rtt_ms: float  # the smallest, of a small frame and its ack
    capacity_bps: float
    server_ms: dict[Mode, float]  # median of wait, decode and infer for each mode that was tried


def probe_frames(encoder: EncoderRuntime, image: Image) -> tuple[list[EncodedFrame], list[EncodedFrame]]:
    """Return frames to send alone (small features, then images if the server can take them) and as a burst."""
    manifest = encoder.manifest
    small = encoder.encode(image, OperatingPoint(Codec.RANS, 1, 0))
    if not manifest.has_detector:
        return [small] * ALONE, [encoder.encode(image, OperatingPoint(Codec.RANS, 1, manifest.qualities - 1))] * BURST
    large = encoder.encode(image, OperatingPoint(Codec.JPEG, 0, IMAGE_QUALITY))
    return [small] * ALONE + [large] * ALONE, [large] * BURST


async def measure_link(
    server: str,
    opening: OpenSession,
    alone: Sequence[EncodedFrame],
    burst: Sequence[EncodedFrame],
    frame_size: tuple[int, int],
    clock: Callable[[], float] = time.monotonic,
    use_proxy: bool = False,
    credentials: Credentials | None = None,
) -> LinkMeasurement:
    """Send frames one at a time, the small ones for the round trip, then a burst of large ones for the capacity.

    frame_size: (width, height). Raises LinkError or ProtocolError if the server does not answer.
    """
    async with open_session(server, opening, use_proxy=use_proxy, credentials=credentials) as session:
        probe = _Probe(session, frame_size, clock)
        trips = [await asyncio.wait_for(probe.exchange([encoded]), ANSWER_TIMEOUT_S) for encoded in alone]
        last = await asyncio.wait_for(probe.exchange(burst), ANSWER_TIMEOUT_S)
    times: dict[Mode, list[float]] = {}
    for trip, encoded in zip(trips, alone, strict=True):
        times.setdefault(encoded.point.mode, []).append(trip.timings[0].total_ms)
    return LinkMeasurement(
        rtt_ms=min(trip.first_ack_ms for trip in trips),
        capacity_bps=capacity(last.acks),
        server_ms={mode: percentile(found, 50) for mode, found in times.items()},
    )


def capacity(acks: Sequence[Ack]) -> float:
    """Return bits a second, from acks of frames sent at once, by the server's clock; the first frame only sets it."""
    first, *others = sorted(acks, key=lambda ack: ack.server_receive_time_us)
    span_s = (others[-1].server_receive_time_us - first.server_receive_time_us) / 1e6 if others else 0.0
    if span_s < LEAST_SPAN_S:
        return MOST_BPS
    return min(MOST_BPS, 8 * sum(ack.payload_bytes for ack in others) / span_s)


@dataclass(frozen=True)
class _Exchange:
    first_ack_ms: float
    acks: list[Ack]
    timings: list[ServerTiming]


class _Probe:
    def __init__(self, session: Session, frame_size: tuple[int, int], clock: Callable[[], float]) -> None:
        self._session = session
        self._replies = session.replies()
        self._frame_size = frame_size
        self._clock = clock
        self._sent = 0

    async def exchange(self, frames: Sequence[EncodedFrame]) -> _Exchange:
        """Send frames at once and wait for all their answers."""
        begin = self._clock()
        for encoded in frames:
            self._send(encoded)
        first_ack_ms, acks, timings = 0.0, [], []
        async for reply in self._replies:
            if isinstance(reply, Ack):
                first_ack_ms = first_ack_ms or (self._clock() - begin) * 1000
                acks.append(reply)
            elif isinstance(reply, FrameDetections):
                timings.append(reply.timing)
            elif isinstance(reply, FrameError):
                raise ProtocolError(f"the server refused a frame: {reply.message}")
            if len(timings) == len(frames):
                return _Exchange(first_ack_ms, acks, timings)
        raise LinkError("the server has closed the session: is it shutting down? try again")

    def _send(self, encoded: EncodedFrame) -> None:
        self._sent += 1
        width, height = self._frame_size
        self._session.send(Frame(self._sent, 0, encoded.point, encoded.payload, width, height))
