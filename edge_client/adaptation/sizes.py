"""How large frames turn out here: those that stand alone, and those that hold only what has changed. Pure.

A camera's scene decides about both. Sizes are kept as factors over the table's median, by codec, so that one point's
frames tell about the others'. What can be built on is known, too: a point that would have to begin anew takes more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_client.adaptation.point_table import PointCosts
from edge_client.adaptation.recent_values import RecentValues
from edge_client.adaptation.spread import NOMINAL, Spread
from splitnet.operating_point import Codec, Mode, OperatingPoint

UNSEEN_STREAM = Spread(0.25, 0.5)  # a picture of a stream over its keyframe, until this camera has shown its own
MAX_SENT = 16  # frames remembered until they are answered

Figures = NDArray[np.float64]  # (rows of the table,)


def family(row: PointCosts) -> tuple[Codec, int, int]:
    """Return what rows share whose sizes are the same factor over the table's."""
    point = row.point
    return point.codec, point.width, point.quality if point.codec is Codec.H264 else 0


@dataclass(frozen=True)
class SizeEstimate:
    """What is known of sizes at one moment. Spreads are of bytes over the table's median, by codec."""

    whole: Mapping[str, Spread] = field(default_factory=dict)  # of frames that stand alone
    changes: Mapping[str, Spread] = field(default_factory=dict)  # of frames that build on another
    width: int | None = None  # of the features that the server holds, on which others of that width may build
    stream: OperatingPoint | None = None  # of the video stream that is running

    def factors(self, rows: Sequence[PointCosts]) -> Figures:
        """Return (3, rows): what each usually takes, what its next frame does, and the p90 of that.

        All over the table's median. A p90 that nothing is known of is NaN. Rows of one `family` have the same figures.
        """
        figures: Figures = np.array([self._of(row) for row in rows]).T
        return figures

    def _of(self, row: PointCosts) -> tuple[float, float, float]:
        usual = self._usual(row.codec)
        following = self._next(row, usual)
        return (usual or NOMINAL).expected, *(following or (1.0, np.nan))

    def _usual(self, codec: str) -> Spread | None:
        if codec == Codec.H264.value:
            return self.changes.get(codec) or self.changes.get(Codec.RANS.value) or UNSEEN_STREAM
        return self.changes.get(codec) or self.whole.get(codec)

    def _next(self, row: PointCosts, usual: Spread | None) -> Spread | None:
        return usual if self._goes_on(row.point) else self.whole.get(row.codec)

    def _goes_on(self, point: OperatingPoint) -> bool:
        if point.codec is Codec.H264:
            return point == self.stream
        return point.mode is Mode.IMAGE or point.width == self.width


class SizeEstimator:
    """Learns from every frame that is encoded, and from those that are answered."""

    def __init__(self) -> None:
        self._whole: defaultdict[str, RecentValues] = defaultdict(lambda: RecentValues(enough=1))
        self._changes: defaultdict[str, RecentValues] = defaultdict(lambda: RecentValues(enough=1))
        self._sent: dict[int, int] = {}  # width by frame id
        self._width: int | None = None
        self._stream: OperatingPoint | None = None

    def encoded(self, frame_id: int, row: PointCosts, payload_bytes: int, builds: bool) -> None:
        """Learn the size of a frame. builds: on another one."""
        kind = self._changes if builds else self._whole
        kind[row.codec].add(payload_bytes / row.bytes_p50)
        if row.point.codec is Codec.H264:
            self._stream = row.point
        elif row.point.mode is Mode.SPLIT:
            if len(self._sent) == MAX_SENT:
                del self._sent[next(iter(self._sent))]
            self._sent[frame_id] = row.point.width

    def answered(self, frame_id: int) -> None:
        """Learn that the server has decoded a frame."""
        self._width = self._sent.pop(frame_id, self._width)

    def reset(self) -> None:
        """Forget what could be built on, not how large frames are."""
        self._sent.clear()
        self._width = self._stream = None

    def estimate(self) -> SizeEstimate:
        """Return what is known now."""
        return SizeEstimate(_spreads(self._whole), _spreads(self._changes), self._width, self._stream)


def _spreads(values: Mapping[str, RecentValues]) -> dict[str, Spread]:
    return {codec: known.spread for codec, known in values.items() if known.spread is not None}
