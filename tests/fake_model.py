"""A model without a network, for the tests of what is around it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from splitnet.detections import Detections
from splitnet.errors import BitstreamError
from splitnet.messages import Frame
from splitnet.operating_point import Codec, Mode, OperatingPoint

BAD = b"bad"  # a payload that does not decode
BUG = b"bug"  # a payload that makes decoding fail in a way nobody expects
POISON = b"poison"  # a payload that makes its whole batch fail
SPLIT_POINT = OperatingPoint(Codec.RANS, 1, 0)
IMAGE_POINT = OperatingPoint(Codec.JPEG, 0, 50)


class FakeModel:
    """Finds in every frame one object whose label is the length of the payload."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.kinds: list[Mode] = []
        self.threads: set[str] = set()
        self.entered = threading.Event()  # a batch is being computed
        self.gate = threading.Event()  # batches wait for it
        self.gate.set()

    def warm_up(self, max_batch_size: int) -> None:
        self.threads.add(threading.current_thread().name)

    def decode(self, frame: Frame) -> bytes:
        if frame.payload == BAD:
            raise BitstreamError("these bytes are not a bitstream")
        if frame.payload == BUG:
            raise ZeroDivisionError("a bug of ours")
        return frame.payload

    def infer(self, kind: Mode, batch: Sequence[bytes]) -> list[Detections]:
        self.threads.add(threading.current_thread().name)
        self.entered.set()
        assert self.gate.wait(timeout=10)
        self.batches.append(list(batch))
        self.kinds.append(kind)
        if POISON in batch:
            raise RuntimeError("out of memory")
        return [one_object(len(payload)) for payload in batch]


def one_object(label: int) -> Detections:
    return Detections(np.array([[0, 0, 10, 10]], np.float32), np.array([0.5], np.float32), np.array([label], np.int32))


def frame(frame_id: int = 1, payload: bytes = b"x", point: OperatingPoint = SPLIT_POINT, deadline_ms: int = 0):
    return Frame(frame_id, 1000 + frame_id, point, payload, 640, 480, deadline_ms)
