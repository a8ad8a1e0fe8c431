"""Answers to devices as observations for reports: a server's cameras are its devices (`splitnet/outputs`)."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from cloud_server.config import ServeConfig
from cloud_server.session import OnDetections
from splitnet.messages import Frame, FrameDetections
from splitnet.outputs.change_feed import Observation
from splitnet.outputs.reporter import Reporter
from splitnet.outputs.tracker import Sighting, sightings_of

NAME = "cloud-server"  # where the machine has none


@contextmanager
def reporting(config: ServeConfig) -> Iterator[OnDetections | None]:
    """Report while in this block, if there is anything to report to; yields who is to be told. Raises ConfigError."""
    if not config.reports:
        yield None
        return
    reporter = Reporter(config, platform.node()[:64] or NAME)
    reporter.start()
    try:
        yield observer(reporter.observe, time.time)
    finally:
        reporter.close()


def observer(observe: Callable[[Observation], None], unix_clock: Callable[[], float]) -> OnDetections:
    """Return who makes observations of answers. A frame whose size was not said has no places: it is left out."""

    def told(device: str, class_names: Sequence[Sequence[str]], frame: Frame, answer: FrameDetections) -> None:
        if not (frame.frame_width and frame.frame_height):
            return
        seen: list[Sighting] = []
        for found, names in zip((answer.detections, *answer.further), class_names, strict=False):
            labels = [names[label] if label < len(names) else str(label) for label in found.labels.tolist()]
            seen += sightings_of(found, labels)
        is_late = 0 < frame.deadline_ms < answer.timing.total_ms
        size = frame.frame_width, frame.frame_height
        observe(Observation(device, unix_clock(), *size, seen, is_in_time=not is_late))

    return told
