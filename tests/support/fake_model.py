"""A model without a network, for the tests of what is around it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from splitnet.codec.references import ReferenceStore
from splitnet.detections import Detections
from splitnet.errors import BitstreamError, BundleMismatchError, ProtocolError
from splitnet.messages import BundleDescription, Frame, FurtherBundle
from splitnet.operating_point import Codec, Mode, OperatingPoint

BAD = b"bad"  # a payload that does not decode
BUG = b"bug"  # a payload that makes decoding fail in a way nobody expects
BLANK = b"blank"  # what warms up: neither recorded as a batch nor held up by the gate
DIGEST = "ab" * 32
POISON = b"poison"  # a payload that makes its whole batch fail
SPLIT_POINT = OperatingPoint(Codec.RANS, 1, 0)
IMAGE_POINT = OperatingPoint(Codec.JPEG, 0, 50)


class FakeModel:
    """Finds in every frame one object whose label is the length of the payload."""

    modes = (Mode.SPLIT, Mode.IMAGE)
    name = "coco-nano"
    memory_bytes = 1_000_000
    plan = ""
    each_size_differs = True
    description = BundleDescription(416, 16, ("person", "car"), 4, 3, 0.25, (Codec.RANS, Codec.JPEG))

    def __init__(self, digest: str = DIGEST) -> None:
        self.digest = self.device_digest = self.computed_as = digest
        self.batches: list[list[bytes]] = []
        self.kinds: list[Mode] = []
        self.warm_ups: list[tuple[Mode, int]] = []
        self.threads: set[str] = set()
        self.entered = threading.Event()  # a batch is being computed
        self.gate = threading.Event()  # batches wait for it
        self.gate.set()

    def prepare(self) -> None:
        self.threads.add(threading.current_thread().name)

    def blank(self, mode: Mode) -> bytes:
        return BLANK

    def decode(self, frame: Frame, references: ReferenceStore | None = None) -> bytes:
        if frame.payload == BAD:
            raise BitstreamError("these bytes are not a bitstream")
        if frame.payload == BUG:
            raise ZeroDivisionError("a bug of ours")
        return frame.payload

    def infer(self, kind: Mode, batch: Sequence[bytes]) -> list[Detections]:
        self.threads.add(threading.current_thread().name)
        if BLANK in batch:
            self.warm_ups.append((kind, len(batch)))
            return [one_object(0)] * len(batch)
        self.entered.set()
        assert self.gate.wait(timeout=10)
        self.batches.append(list(batch))
        self.kinds.append(kind)
        if POISON in batch:
            raise RuntimeError("out of memory")
        return [one_object(len(payload)) for payload in batch]


class FakeRegistry:
    """Serves models that are warm already."""

    def __init__(self, *models: FakeModel) -> None:
        self.models = list(models)

    def find(self, digest: str) -> FakeModel:
        for model in self.models:
            if digest in ("", model.digest):
                return model
        raise BundleMismatchError(f"serves {[model.digest for model in self.models]}, not {digest}")

    def find_all(self, digest: str, further: Sequence[str]) -> tuple[FakeModel, tuple[FurtherBundle, ...]]:
        if further:
            raise ProtocolError("this server answers a session by one bundle")
        return self.find(digest), ()


def one_object(label: int) -> Detections:
    return Detections(np.array([[0, 0, 10, 10]], np.float32), np.array([0.5], np.float32), np.array([label], np.int32))


def frame(frame_id: int = 1, payload: bytes = b"x", point: OperatingPoint = SPLIT_POINT, deadline_ms: int = 0):
    return Frame(frame_id, 1000 + frame_id, point, payload, 640, 480, deadline_ms)
