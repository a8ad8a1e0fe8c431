"""Frame filtering: a frame that hardly differs from the last one sent is not sent (Reducto, SIGCOMM 2020).

The server repeats its last answer. Two of Reducto's cheap features: the share of pixels that differ, and the share of
edge pixels that do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.video.eyes import Canvas
from benchmarks.video.systems import VideoSystem
from splitnet.detections import Detections

Feature = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]

_LEVELS = 21  # of grey that a pixel must differ by, as in Reducto
_BLUR = (5, 5)
_EDGE_LOW, _EDGE_HIGH = 101, 255  # thresholds of Canny's detector, as in Reducto


class FilteredVideo:
    """Another system behind a filter."""

    def __init__(self, inner: VideoSystem, feature: str, threshold: float) -> None:
        """Take what sends the frames that pass, "pixel" or "edge", and the difference from which on one passes."""
        self._inner, self._difference, self._threshold = inner, DIFFERENCES[feature], threshold
        self._last: NDArray[np.uint8] | None = None  # the blurred grey image that was sent last
        self._received: Any = None

    def fit(self, frame: Canvas) -> Canvas:
        """Fit a frame as what is behind the filter does."""
        return self._inner.fit(frame)

    def encode(self, canvas: Canvas) -> bytes:
        """Encode a frame that differs enough; else nothing."""
        grey = np.asarray(cv2.GaussianBlur(cv2.cvtColor(canvas, cv2.COLOR_BGR2GRAY), _BLUR, 0), np.uint8)
        if self._last is not None and self._difference(grey, self._last) < self._threshold:
            return b""
        self._last = grey
        return self._inner.encode(canvas)

    def receive(self, payload: bytes) -> Any:
        """Decode the payload, or stay with the last one."""
        if payload:
            self._received = self._inner.receive(payload)
        return self._received

    def look(self, received: Any) -> Detections:
        """Return what is found in the last frame that came."""
        return self._inner.look(received)


def pixel_difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return the share of pixels (H, W) that differ clearly."""
    return float((cv2.absdiff(one, other) > _LEVELS).mean())


def edge_difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Return the share of pixels (H, W) that are an edge in one image only."""
    edges = [cv2.Canny(grey, _EDGE_LOW, _EDGE_HIGH) for grey in (one, other)]
    return float((edges[0] != edges[1]).mean())


DIFFERENCES = {"pixel": pixel_difference, "edge": edge_difference}
