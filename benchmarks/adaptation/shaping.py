"""Commands for `tc tbf` that let through what a trace lets through, slot by slot. Pure.

Three habits of the kernel's token bucket decide how. Changing it fills it, so a change is itself worth a burst:
`PacketBudget` charges for it. What is left in it at the next change is forgotten. So a slot is given whole packets and
half a one, which no packet can use, and what is missing waits for the next slot. And it knows no rate of zero. A
blocked link has one at which a packet takes 25 minutes. The first packet to wait when it is blocked still slips
through, at the next slots' cost.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.harness.traces import PACKET_BYTES

FRAME_BYTES = PACKET_BYTES + 14  # what tbf counts: the Ethernet header as well
SPARE_BYTES = 86  # in the bucket, for what wakes it
BURST_S = 0.004  # of tokens that outlast the kernel's late wake-ups, at rates where a packet takes less
MAX_BPS = 10e9
BLOCKED_BPS = 8.0  # the smallest rate that tc takes


@dataclass(frozen=True)
class Bucket:
    """What tbf is told. burst_bytes: how many tokens it holds, and has at once when it is told."""

    rate_bps: float
    burst_bytes: int = FRAME_BYTES + SPARE_BYTES

    def tc_command(self, interface: str, queue_bytes: int) -> str:
        """Return the tc command that gives the interface this bucket, or changes the one it has."""
        shape = f"rate {self.rate_bps:.0f}bit burst {self.burst_bytes} limit {queue_bytes}"
        return f"qdisc replace dev {interface} root tbf {shape}"


BLOCKED = Bucket(BLOCKED_BPS)
OPEN = Bucket(1e9, 4_000_000)


class PacketBudget:
    """Turns the capacity of each slot into what the bucket is told at its beginning."""

    def __init__(self) -> None:
        self._owed_bytes = 0.0  # of IP; below zero when more has passed than there was room for
        self._blocked = False

    def next_slot(self, capacity_bps: float, duration_s: float) -> Bucket | None:
        """Return what to change the bucket to for the next slot, or None to leave it blocked."""
        self._owed_bytes += min(capacity_bps, MAX_BPS) * duration_s / 8
        packets = max(0, int(self._owed_bytes // PACKET_BYTES))
        if packets == 0 and self._blocked:
            return None
        self._owed_bytes -= max(1, packets) * PACKET_BYTES  # a change lets one through in any case
        bucket = _bucket(packets, duration_s)
        self._blocked = bucket == BLOCKED
        return bucket


def _bucket(packets: int, duration_s: float) -> Bucket:
    """Return the bucket that so many packets have passed when the slot is over, be it a little long or short."""
    if packets <= 1:
        return BLOCKED
    slot_bytes = (packets + 0.5) * FRAME_BYTES
    burst_bytes = max(FRAME_BYTES, int(slot_bytes / duration_s * BURST_S)) + SPARE_BYTES
    return Bucket((slot_bytes - burst_bytes) * 8 / duration_s, burst_bytes)


def queue_bytes_for(mean_bps: float, queue_ms: float) -> int:
    """Return a queue that holds so many milliseconds at the mean capacity, and twenty packets at least.

    A modem's buffer is a number of bytes, whatever the rate is just now. Twenty packets: one large image.
    """
    return max(20 * FRAME_BYTES, round(mean_bps / 8 * queue_ms / 1000))
