"""One uplink and one encoder for several cameras: what all of them have learnt of the link, and what each may use.

What any camera's frame shows of the link holds for all, so there is one estimate of it, and what others have under way
counts as queued. Shares are max-min fair: a camera may use what the others leave, and never less than an equal part.
Two that want more than there is end at equal parts, since each that has more is told that it has too much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from threading import Lock

from edge_client.adaptation.link import MESSAGE_OVERHEAD_BYTES, LinkEstimate, LinkEstimator
from splitnet.messages import Ack

MEMORY_S = 2.0  # of what cameras use
_CAMERA_BITS = 8  # of a frame's number on the shared link


@dataclass(frozen=True)
class Others:
    """What the other cameras of this device use at present. Alone, there are none."""

    cameras: int = 1  # in all, this one included
    bps: float = 0.0  # of the uplink, in bits a second
    encoding: float = 0.0  # of the encoder's time, 0..1

    def link_share(self, capacity_bps: float | None) -> float:
        """Return what of a link of this capacity is left for this camera, 0..1."""
        return self._share(self.bps / capacity_bps) if capacity_bps else 1 / self.cameras

    @property
    def encoder_share(self) -> float:
        """What of the encoder's time is left for this camera, 0..1."""
        return self._share(self.encoding)

    def kbps_left(self, max_kbps: float) -> float:
        """Return what is left for this camera of a limit for all, in 1000 bits a second."""
        return max_kbps * self._share(self.bps / 1000 / max_kbps)

    def _share(self, used: float) -> float:
        return max(1 / self.cameras, 1.0 - used)


@dataclass
class _Use:
    """A rate that fades: an amount a second, over the last seconds."""

    amount: float = 0.0
    at: float = 0.0

    def add(self, now: float, amount: float) -> None:
        self.amount = self.amount * self._kept(now) + amount
        self.at = max(self.at, now)

    def per_s(self, now: float) -> float:
        return self.amount * self._kept(now) / MEMORY_S

    def _kept(self, now: float) -> float:
        return math.exp(-max(0.0, now - self.at) / MEMORY_S)


@dataclass
class _Camera:
    bits: _Use = field(default_factory=_Use)
    encoding: _Use = field(default_factory=_Use)
    is_up: bool = False  # it has a session


class SharedLink:
    """What the cameras of one device share. Thread-safe; times are arguments, in seconds."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._link = LinkEstimator()
        self._cameras: list[_Camera] = []

    def camera(self) -> CameraLink:
        """Return the link as one more camera sees it."""
        if len(self._cameras) == 1 << _CAMERA_BITS:
            raise ValueError(f"a link is shared by at most {1 << _CAMERA_BITS} cameras")
        self._cameras.append(_Camera())
        return CameraLink(self, len(self._cameras) - 1)

    def session(self, now: float, camera: int, is_up: bool, same_way: bool = False) -> None:
        """Note that a camera's session has begun or is over; the first of all may take another way than before.

        same_way: it does not: what is known of the link holds.
        """
        with self._lock:
            self._cameras[camera].is_up = is_up
            if same_way or any(one.is_up for i, one in enumerate(self._cameras) if i != camera):
                self._link.drop(lambda frame_id: frame_id % (1 << _CAMERA_BITS) == camera)
            else:
                self._link.reset(now)

    def sent(self, now: float, camera: int, frame_id: int, payload_bytes: int, layer: int) -> None:
        """Note a frame, or one of its layers, that is handed to the network."""
        with self._lock:
            self._link.sent(now, _number(camera, frame_id), payload_bytes, layer)
            self._cameras[camera].bits.add(now, 8.0 * (payload_bytes + MESSAGE_OVERHEAD_BYTES))

    def acked(self, now: float, camera: int, ack: Ack) -> None:
        """Learn from an ack."""
        with self._lock:
            self._link.acked(now, replace(ack, frame_id=_number(camera, ack.frame_id)))

    def forget(self, now: float, camera: int, frame_id: int) -> None:
        """Note that a frame is answered, refused or lost."""
        with self._lock:
            self._link.forget(now, _number(camera, frame_id))

    def encoded(self, now: float, camera: int, encode_ms: float) -> None:
        """Note how long the encoder was busy with a frame."""
        with self._lock:
            self._cameras[camera].encoding.add(now, encode_ms / 1000)

    def estimate(self, now: float) -> LinkEstimate:
        """Return what is known of the link."""
        with self._lock:
            return self._link.estimate(now)

    def others(self, now: float, camera: int) -> Others:
        """Return what the other cameras use."""
        with self._lock:
            others = [one for i, one in enumerate(self._cameras) if i != camera]
            bps = sum(one.bits.per_s(now) for one in others)
            return Others(len(self._cameras), bps, sum(one.encoding.per_s(now) for one in others))


class CameraLink:
    """The shared link as one camera sees it: its frames have their own numbers."""

    def __init__(self, link: SharedLink, camera: int) -> None:
        self._link = link
        self._camera = camera

    def up(self, now: float, same_way: bool = False) -> None:
        """Note that this camera's session is open. same_way: as the one before it."""
        self._link.session(now, self._camera, True, same_way)

    def down(self, now: float, same_way: bool = False) -> None:
        """Note that it is over; its frames under way are lost. same_way: the next one goes the same way."""
        self._link.session(now, self._camera, False, same_way)

    def sent(self, now: float, frame_id: int, payload_bytes: int, layer: int = 0) -> None:
        """Note a frame, or one of its layers, that is handed to the network."""
        self._link.sent(now, self._camera, frame_id, payload_bytes, layer)

    def acked(self, now: float, ack: Ack) -> None:
        """Learn from an ack."""
        self._link.acked(now, self._camera, ack)

    def forget(self, now: float, frame_id: int) -> None:
        """Note that a frame is answered, refused or lost."""
        self._link.forget(now, self._camera, frame_id)

    def encoded(self, now: float, encode_ms: float) -> None:
        """Note how long the encoder was busy with a frame."""
        self._link.encoded(now, self._camera, encode_ms)

    def estimate(self, now: float) -> LinkEstimate:
        """Return what is known of the link."""
        return self._link.estimate(now)

    def others(self, now: float) -> Others:
        """Return what the other cameras use."""
        return self._link.others(now, self._camera)


def _number(camera: int, frame_id: int) -> int:
    return (frame_id << _CAMERA_BITS) + camera
