"""Results as observations for reports: MQTT, Home Assistant, webhooks (`splitnet/outputs`)."""

from __future__ import annotations

from collections.abc import Sequence

from edge_client.frames import FrameResult
from edge_client.output.detection_record import label_name
from splitnet.outputs.change_feed import Observation
from splitnet.outputs.reporter import Reporter
from splitnet.outputs.tracker import sightings_of


class ReportSink:
    """Hands every result to a reporter, which holds nobody up."""

    option = "the reports"

    def __init__(self, reporter: Reporter, class_names: Sequence[str]) -> None:
        """Take a reporter, and start it."""
        self._reporter = reporter
        self._class_names = class_names
        reporter.start()

    def write(self, result: FrameResult) -> None:
        """Report a frame."""
        name, camera = self._reporter.name, result.frame.camera
        self._reporter.observe(observation(result, f"{name}-{camera}" if camera else name, self._class_names))

    def close(self) -> None:
        """Say what is still to be said, and end."""
        self._reporter.close()


def observation(result: FrameResult, camera: str, class_names: Sequence[str]) -> Observation:
    """Return what a result says of a camera."""
    height, width = result.frame.image.shape[:2]
    found = result.detections
    labels = [label_name(int(label), class_names) for label in found.labels]
    return Observation(
        camera=camera,
        time=result.frame.unix_time,
        width=width,
        height=height,
        sightings=sightings_of(found, labels),
        is_in_time=not result.late,
        is_by_server=result.encoded.point.is_sent,
    )
