"""What the uplink is worth, learnt from the acks of frames: capacity, round trip, and what is still under way.

At most two frames are under way, each a few thousand bytes, so every ack counts. A frame sent while the link
was still busy with the one before it took the time between their two arrivals, by the server's clock; a frame
sent into an idle link took its ack's latency less the round trip of an empty message. Delivery rates, their
marking as application-limited and the windowed minimum of the round trip follow BBR (Cardwell et al. 2016,
draft-cheng-iccrg-delivery-rate-estimation). A frame that is under way for longer than it should be bounds
the capacity at once, before any ack.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from edge_client.round_trip import RoundTrip
from splitnet.messages import Ack

MESSAGE_OVERHEAD_BYTES = 100  # of Protobuf, gRPC, HTTP/2, TCP and IP around a payload
WINDOW_S = 1.2  # samples older than this are forgotten once there are newer ones
LOW_QUANTILE = 0.25  # of the bytes of the window: the rate that three quarters of them exceeded
RESOLUTION_S = 0.002  # transmission times below this, or within the jitter, say only "at least"
MAX_JITTER_S = 0.5  # two clocks that drift apart by more between two acks: one of them has jumped
MAX_CAPACITY_BPS = 1e10
MAX_UNDER_WAY = 64  # frames remembered, should acks never come


@dataclass(frozen=True)
class LinkEstimate:
    """What is known of the link at one moment. Capacities in bits a second, None before the first ack."""

    capacity_bps: float | None = None  # mean of the last second
    capacity_low_bps: float | None = None  # what it rarely falls below
    rtt_min_ms: float | None = None  # of an empty message on an idle link
    rtt_ms: float | None = None  # smoothed latency of acks: queue and transmission included
    in_flight_bytes: int = 0  # not acknowledged
    in_flight_frames: int = 0
    queued_bytes: float = 0.0  # of these, presumably not yet taken by the link
    overusing: bool = False  # the queue grows, or a frame is overdue
    app_limited: bool = True  # the capacity is at least this: nothing has filled the link lately
    silent_ms: float = 0.0  # since something is under way and nothing is heard of it


@dataclass(frozen=True)
class _Sample:
    """How long the link took for a frame."""

    time: float
    wire_bytes: int
    duration_s: float

    @property
    def bps(self) -> float:
        return min(8 * self.wire_bytes / self.duration_s, MAX_CAPACITY_BPS)


@dataclass(frozen=True)
class _Delivery:
    """The last frame that the server has acknowledged."""

    ack_time: float
    server_time_s: float
    finish: float  # when the link was done with it, in the device's time


class LinkEstimator:
    """Turns what is sent and acknowledged into an estimate. Pure: times are arguments, in seconds."""

    def __init__(self) -> None:
        self.reset(0.0)

    def reset(self, now: float) -> None:
        """Forget everything: the next session may take another way."""
        self._under_way: dict[int, tuple[float, int]] = {}  # frame id: (sent, wire bytes), in order of sending
        self._samples: deque[_Sample] = deque()
        self._round_trip = RoundTrip()
        self._last: _Delivery | None = None
        self._heard = now
        self._app_limited = True
        self._growing = 0  # acks in a row that came later than expected

    def sent(self, now: float, frame_id: int, payload_bytes: int) -> None:
        """Note a frame that is handed to the network."""
        if len(self._under_way) == MAX_UNDER_WAY:
            del self._under_way[next(iter(self._under_way))]
        self._under_way[frame_id] = now, max(0, payload_bytes) + MESSAGE_OVERHEAD_BYTES

    def forget(self, now: float, frame_id: int) -> None:
        """Note that a frame is answered, refused or lost, whether or not an ack has come."""
        if self._under_way.pop(frame_id, None) is not None:
            self._heard = max(self._heard, now)

    def acked(self, now: float, ack: Ack) -> None:
        """Learn from an ack. One of an unknown frame, out of order or at an impossible time teaches nothing."""
        oldest = next(iter(self._under_way), None)
        sent, wire_bytes = self._under_way.pop(ack.frame_id, (now, 0))
        if not wire_bytes:
            return
        self._heard = max(self._heard, now)
        if ack.frame_id == oldest and now > sent:
            self._learn(now, sent, wire_bytes, ack.server_receive_time_us / 1e6)

    def _learn(self, now: float, sent: float, wire_bytes: int, server_time_s: float) -> None:
        last = self._last
        queued = last is not None and sent < last.finish
        if not queued:
            self._round_trip.add(now, wire_bytes, now - sent)
        finish = max(sent, now - self._round_trip.minimum_s)
        self._last = _Delivery(now, server_time_s, finish)
        duration_s = finish - sent
        if last is not None:
            server_s = server_time_s - last.server_time_s
            plausible = server_s >= 0 and abs(server_s - (now - last.ack_time)) <= MAX_JITTER_S
            if plausible:
                self._round_trip.note_jitter(server_s - (now - last.ack_time))
            if queued:
                if not plausible:
                    return
                duration_s = server_s
        self._note_overuse(wire_bytes, finish - sent)
        self._add(_Sample(now, wire_bytes, max(duration_s, RESOLUTION_S)), limited=not queued)

    def _note_overuse(self, wire_bytes: int, delay_s: float) -> None:
        """Compare a frame's time on the way with what the capacity so far promised."""
        capacity_bps = self._mean_bps()
        if capacity_bps is None:
            return
        late_s = delay_s - 8 * wire_bytes / capacity_bps
        self._growing = self._growing + 1 if late_s > self._tolerance_s(wire_bytes, capacity_bps) else 0

    def _tolerance_s(self, wire_bytes: int, capacity_bps: float) -> float:
        return self._resolution_s() + 0.5 * 8 * wire_bytes / capacity_bps

    def _resolution_s(self) -> float:
        return max(RESOLUTION_S, 2 * self._round_trip.jitter_s)

    def _add(self, sample: _Sample, limited: bool) -> None:
        """Keep a sample; one that may be too low is kept only if it is higher than what is known."""
        self._app_limited = limited and sample.duration_s <= self._resolution_s()
        if self._app_limited and sample.bps <= (self._mean_bps() or 0.0):
            return
        self._samples.append(sample)
        while self._samples[0].time < sample.time - WINDOW_S:
            self._samples.popleft()

    def _mean_bps(self) -> float | None:
        if not self._samples:
            return None
        duration_s = sum(sample.duration_s for sample in self._samples)
        return min(8 * sum(sample.wire_bytes for sample in self._samples) / duration_s, MAX_CAPACITY_BPS)

    def _low_bps(self) -> float:
        """Return the rate below which LOW_QUANTILE of the window's bytes travelled."""
        ordered = sorted((sample.bps, sample.wire_bytes) for sample in self._samples)
        left = LOW_QUANTILE * sum(wire_bytes for _, wire_bytes in ordered)
        for bps, wire_bytes in ordered:
            left -= wire_bytes
            if left <= 0:
                return bps
        return ordered[-1][0]

    def estimate(self, now: float) -> LinkEstimate:
        """Return what is known at `now`."""
        mean_bps = self._mean_bps()
        low_bps = None if mean_bps is None else min(mean_bps, self._low_bps())
        if low_bps is not None and self._growing >= 2:
            low_bps = min(low_bps, self._samples[-1].bps)
        bound_bps, overdue = self._bound(now, mean_bps)
        if mean_bps is not None and low_bps is not None:
            mean_bps, low_bps = min(mean_bps, bound_bps), min(low_bps, bound_bps)
        in_flight_bytes = sum(wire_bytes for _, wire_bytes in self._under_way.values())
        return LinkEstimate(
            capacity_bps=mean_bps,
            capacity_low_bps=low_bps,
            rtt_min_ms=self._round_trip.minimum_ms,
            rtt_ms=self._round_trip.smoothed_ms,
            in_flight_bytes=in_flight_bytes,
            in_flight_frames=len(self._under_way),
            queued_bytes=self._queued(now, in_flight_bytes, mean_bps),
            overusing=overdue or self._growing >= 2,
            app_limited=self._app_limited and not overdue,
            silent_ms=self._silent_ms(now),
        )

    def _began(self) -> float:
        """Return when the link began with the oldest frame that is not acknowledged."""
        sent, _ = next(iter(self._under_way.values()))
        return sent if self._last is None else max(sent, self._last.finish)

    def _bound(self, now: float, mean_bps: float | None) -> tuple[float, bool]:
        """Return what the oldest frame's silence leaves of the capacity, and whether its ack is overdue."""
        if not self._under_way:
            return MAX_CAPACITY_BPS, False
        _, wire_bytes = next(iter(self._under_way.values()))
        taken_s = now - self._began() - self._round_trip.minimum_s - self._resolution_s()
        bound_bps = min(8 * wire_bytes / taken_s, MAX_CAPACITY_BPS) if taken_s > 0 else MAX_CAPACITY_BPS
        expected_s = 0.0 if mean_bps is None else 8 * wire_bytes / mean_bps
        return bound_bps, taken_s > 1.5 * expected_s + self._resolution_s()

    def _queued(self, now: float, in_flight_bytes: int, mean_bps: float | None) -> float:
        if not self._under_way or mean_bps is None:
            return 0.0
        taken_bytes = mean_bps / 8 * max(0.0, now - self._began())
        return max(0.0, in_flight_bytes - taken_bytes)

    def _silent_ms(self, now: float) -> float:
        if not self._under_way:
            return 0.0
        sent, _ = next(iter(self._under_way.values()))
        return max(0.0, now - max(sent, self._heard)) * 1000
