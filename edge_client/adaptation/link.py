"""The state of the uplink, from the acks of frames: capacity, round trip, and what is still on its way.

At most two frames are on their way, each a few thousand bytes, so every ack counts. A frame that was sent while the
link was busy with the one before took the time between their two arrivals, by the server's clock. A frame that was sent
into an idle link took its ack's latency, less the round trip of an empty message. If that is lost in the jitter of the
round trip, the sample is application-limited and may only raise the estimate
(draft-cheng-iccrg-delivery-rate-estimation). A frame that is on its way for too long bounds the capacity
at once, before any ack.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge_client.adaptation.capacity import MAX_BPS, Capacity
from edge_client.adaptation.round_trip import RoundTrip
from splitnet.messages import Ack

MESSAGE_OVERHEAD_BYTES = 100  # of Protobuf, gRPC, HTTP/2, TCP and IP around a payload
RESOLUTION_S = 0.002  # transmission times below this, or within the jitter, say only "at least"
MAX_JITTER_S = 0.5  # two clocks that differ by more over the time between two acks: one of them has jumped
OVERDUE = 1.5  # times the expected transmission
MAX_UNDER_WAY = 64  # frames remembered, should acks never come


@dataclass(frozen=True)
class LinkEstimate:
    """What is known of the link at one moment. Capacities in bits a second, None before the first ack."""

    capacity_bps: float | None = None  # mean of the last second
    capacity_low_bps: float | None = None  # the same for a frame like the last one that comes as late as one of ten
    late_ms: float = 0.0  # p90 of the time that recent frames took beyond what the mean promises
    rtt_min_ms: float | None = None  # of an empty message on an idle link
    rtt_ms: float | None = None  # smoothed latency of acks, transmission included
    in_flight_bytes: int = 0  # not acknowledged
    queued_bytes: float = 0.0  # of these, presumably not yet taken by the link
    overusing: bool = False  # frames come later and later, or one is overdue
    app_limited: bool = True  # the capacity is at least this: the last frame did not fill the link
    unheard_s: float = 0.0  # since the last ack or answer
    silent_ms: float = 0.0  # how long the next ack is overdue and nothing else was heard


@dataclass(frozen=True)
class _Delivery:
    """The last frame that the server has acknowledged."""

    ack_time: float
    server_time_s: float
    finish: float  # when the link was done with it, in the device's time and half a round trip late
    wire_bytes: int


class LinkEstimator:
    """Turns what is sent and acknowledged into an estimate. Pure: times are arguments, in seconds."""

    def __init__(self) -> None:
        self.reset(0.0)

    def reset(self, now: float) -> None:
        """Forget everything: the next session may take another way."""
        # (frame id, layer): (sent, wire bytes), in order of sending
        self._under_way: dict[tuple[int, int], tuple[float, int]] = {}
        self._capacity = Capacity()
        self._round_trip = RoundTrip()
        self._last: _Delivery | None = None
        self._heard = now
        self._app_limited = True
        self._late_in_a_row = 0

    def sent(self, now: float, frame_id: int, payload_bytes: int, layer: int = 0) -> None:
        """Note a frame, or one of its layers, that is handed to the network."""
        if len(self._under_way) == MAX_UNDER_WAY:
            del self._under_way[next(iter(self._under_way))]
        self._under_way[frame_id, layer] = now, max(0, payload_bytes) + MESSAGE_OVERHEAD_BYTES

    def forget(self, now: float, frame_id: int) -> None:
        """Note that a frame is answered, refused or lost, whether or not an ack has come."""
        known = [one for one in self._under_way if one[0] == frame_id]
        for one in known:
            del self._under_way[one]
        if known:
            self._heard = max(self._heard, now)

    def drop(self, is_lost: Callable[[int], bool]) -> None:
        """Forget frames, by their ids, of which nothing will be heard any more: that says nothing of the link."""
        self._under_way = {one: sent for one, sent in self._under_way.items() if not is_lost(one[0])}

    def acked(self, now: float, ack: Ack) -> None:
        """Learn from an ack. One of an unknown frame, out of order or at an impossible time teaches nothing."""
        oldest = next(iter(self._under_way), None)
        acked = ack.frame_id, ack.layer
        sent, wire_bytes = self._under_way.pop(acked, (now, 0))
        if not wire_bytes:
            return
        self._heard = max(self._heard, now)
        if acked == oldest and now > sent:
            self._learn(now, sent, wire_bytes, ack.server_receive_time_us / 1e6)

    def _learn(self, now: float, sent: float, wire_bytes: int, server_time_s: float) -> None:
        last = self._last
        is_queued = last is not None and sent < last.finish
        since_last_s = None if last is None else self._between(last, now, server_time_s)
        if not is_queued:
            self._round_trip.add(now, wire_bytes, now - sent)
        finish = max(sent, now - self._round_trip.minimum_s)
        self._last = _Delivery(now, server_time_s, finish, wire_bytes)
        duration_s = since_last_s if is_queued else finish - sent
        if duration_s is None:
            return  # the server's clock has jumped
        if is_queued:
            self._round_trip.add_transfer(now, wire_bytes, duration_s)
        self._app_limited = not is_queued and duration_s <= self._resolution_s
        late_s = self._capacity.add(now, wire_bytes, max(duration_s, RESOLUTION_S), self._app_limited)
        self._late_in_a_row = self._late_in_a_row + 1 if late_s > self._tolerance_s else 0

    def _between(self, last: _Delivery, now: float, server_time_s: float) -> float | None:
        """Return the time between two arrivals by the server's clock, None if that has jumped."""
        between_s = server_time_s - last.server_time_s
        difference_s = between_s - (now - last.ack_time)
        if between_s < 0 or abs(difference_s) > MAX_JITTER_S:
            return None
        self._round_trip.note_jitter(difference_s)
        return between_s

    @property
    def _resolution_s(self) -> float:
        return max(RESOLUTION_S, 2 * self._round_trip.jitter_s)

    @property
    def _tolerance_s(self) -> float:
        return max(self._resolution_s, self._capacity.late_s)

    def estimate(self, now: float) -> LinkEstimate:
        """Return what is known at `now`."""
        mean_bps, late_s = self._capacity.mean_bps, self._capacity.late_s
        bound_bps, overdue = self._bound(now, mean_bps, late_s)
        capacity_bps = None if mean_bps is None else min(mean_bps, bound_bps)
        in_flight_bytes = sum(wire_bytes for _, wire_bytes in self._under_way.values())
        return LinkEstimate(
            capacity_bps=capacity_bps,
            capacity_low_bps=self._low_bps(capacity_bps, late_s),
            late_ms=1000 * late_s,
            rtt_min_ms=self._round_trip.minimum_ms,
            rtt_ms=self._round_trip.smoothed_ms,
            in_flight_bytes=in_flight_bytes,
            queued_bytes=self._queued(now, in_flight_bytes, capacity_bps),
            overusing=overdue or self._late_in_a_row >= 2,
            app_limited=self._app_limited and not overdue,
            unheard_s=max(0.0, now - self._heard),
            silent_ms=self._silent_ms(now, mean_bps),
        )

    def _low_bps(self, capacity_bps: float | None, late_s: float) -> float | None:
        if capacity_bps is None or self._last is None:
            return None
        # bits / (bits / capacity + late), turned so that rounding cannot lift it above the capacity
        return capacity_bps / (1 + late_s * capacity_bps / (8 * self._last.wire_bytes))

    def _oldest(self) -> tuple[float, int]:
        """Return when the link began with the oldest frame that is not acknowledged, and its bytes."""
        sent, wire_bytes = next(iter(self._under_way.values()))
        return (sent if self._last is None else max(sent, self._last.finish)), wire_bytes

    def _bound(self, now: float, mean_bps: float | None, late_s: float) -> tuple[float, bool]:
        """Return what the oldest frame's silence leaves of the capacity, and whether its ack is overdue."""
        if not self._under_way:
            return MAX_BPS, False
        began, wire_bytes = self._oldest()
        taken_s = now - began - self._round_trip.minimum_s - self._resolution_s - late_s
        bound_bps = min(8 * wire_bytes / taken_s, MAX_BPS) if taken_s > 0 else MAX_BPS
        expected_s = 8 * wire_bytes / mean_bps if mean_bps else 0.0
        return bound_bps, taken_s > OVERDUE * expected_s + self._resolution_s

    def _queued(self, now: float, in_flight_bytes: int, capacity_bps: float | None) -> float:
        if not self._under_way or capacity_bps is None:
            return 0.0
        began, _ = self._oldest()
        return max(0.0, in_flight_bytes - capacity_bps / 8 * max(0.0, now - began))

    def _silent_ms(self, now: float, mean_bps: float | None) -> float:
        if not self._under_way:
            return 0.0
        began, wire_bytes = self._oldest()
        expected_s = 8 * wire_bytes / mean_bps if mean_bps else 0.0
        due = began + expected_s + self._round_trip.minimum_s
        return max(0.0, now - max(due, self._heard)) * 1000
