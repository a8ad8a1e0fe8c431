"""What several bundles find in a frame, put together for outputs that draw: their classes stand behind one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, chain
from typing import overload

import numpy as np

from edge_client.frames import FrameResult
from edge_client.output.detection_record import NamedClasses
from edge_client.output.sinks import Sink, name_of
from splitnet.detections import Detections


class AllClasses(Sequence[str]):
    """The classes of the first bundle, which may change while it runs, then those of each further one."""

    def __init__(self, first: Sequence[str], further: NamedClasses) -> None:
        self._parts = (first, *(names for _, names in further))

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        """Return a name, or some."""
        return tuple(chain.from_iterable(self._parts))[index]

    def __len__(self) -> int:
        """Return how many there are."""
        return sum(map(len, self._parts))


def all_classes(class_names: Sequence[str], further: NamedClasses) -> Sequence[str]:
    """Return the classes of all bundles, in order: what `TogetherSink` numbers labels by."""
    return AllClasses(class_names, further) if further else class_names


def together(sink: Sink, class_names: Sequence[str], further: NamedClasses) -> Sink:
    """Return a sink that is shown what all bundles found; itself if there is one bundle only."""
    return TogetherSink(sink, class_names, further) if further else sink


class TogetherSink:
    """Lets a sink see what all bundles found as if one had, with labels into `all_classes`."""

    def __init__(self, sink: Sink, class_names: Sequence[str], further: NamedClasses) -> None:
        self.option = name_of(sink)
        self._sink = sink
        self._parts = (class_names, *(names for _, names in further))

    def write(self, result: FrameResult) -> None:
        """Pass a result on with the objects of all bundles."""
        first_labels = accumulate(map(len, self._parts))
        parts = [result.detections, *map(_moved, result.further, first_labels)]
        boxes, scores, labels = zip(*((one.boxes, one.scores, one.labels) for one in parts), strict=True)
        found = Detections(np.concatenate(boxes), np.concatenate(scores), np.concatenate(labels))
        self._sink.write(replace(result, detections=found))

    def close(self) -> None:
        """Finish what was written."""
        self._sink.close()


def _moved(found: Detections, first_label: int) -> Detections:
    return replace(found, labels=found.labels + np.int32(first_label))
