"""A replica without Ray: its door is real, and the test says what it computes."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from cloud_server.cluster.door import Door
from cloud_server.cluster.line import Place, Question, ReplicaFacts
from cloud_server.compute.decoded_frame import DecodedFrame
from splitnet.detections import Detections
from splitnet.letterbox import Letterbox
from splitnet.operating_point import Codec, Mode, OperatingPoint
from tests.support.fake_model import one_object

KEY = "coco-ab12"
WAIT_S = 10.0
BATCH = [
    DecodedFrame(np.zeros((4, 26, 26), np.int16), OperatingPoint(Codec.RANS, 1, 0), Letterbox.fit(416, 416, 416)),
]
QUESTION = Question(Mode.SPLIT, BATCH)


class FakeReplica:
    """Finds one object with its label in every frame, as soon as its gate is open."""

    def __init__(self, name: str = "r1", label: int = 7) -> None:
        self.label = label
        self.facts = ReplicaFacts(name, "node1", 512.0)
        self.fails: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)  # once for each batch
        self.batches: list[Sequence[DecodedFrame]] = []
        self.door = Door("127.0.0.1", self._infer, lambda: self.facts)

    @property
    def place(self) -> Place:
        return self.door.place(KEY)

    def die(self) -> None:
        """Break all lines, as when the process is killed."""
        for line in list(self.door._lines):
            line.hang_up()

    def close(self) -> None:
        self.gate.set()
        self.door.close()

    def _infer(self, mode: Mode, frames: Sequence[DecodedFrame]) -> list[Detections]:
        self.batches.append(frames)
        self.entered.release()
        assert self.gate.wait(WAIT_S)
        if self.fails is not None:
            raise self.fails
        return [one_object(self.label) for _ in frames]
