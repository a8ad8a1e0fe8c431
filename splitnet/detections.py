"""Detections, the result for one frame: boxes, scores and labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_CLASSES = 10_000
SCORE_THRESHOLD = 0.25  # objects below it are not answered


@dataclass(frozen=True)
class Detections:
    """Objects found in one frame, best first.

    boxes: (n, 4) float32, xyxy in pixels of the frame. scores: (n,) float32 in 0..1.
    labels: (n,) int32, index into the bundle's class names.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of objects."""
        return len(self.scores)

    def from_score(self, least: float) -> Detections:
        """Return the objects whose score is at least so high."""
        kept = self.scores >= least
        return Detections(self.boxes[kept], self.scores[kept], self.labels[kept])

    @classmethod
    def empty(cls) -> Detections:
        """Return a frame without objects."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))
