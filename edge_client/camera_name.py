"""Which camera of a run the code at hand works for: known to its tasks and threads, and so to the log."""

from __future__ import annotations

import logging
from contextvars import ContextVar

CAMERA: ContextVar[str] = ContextVar("camera", default="")  # empty: none in particular


class CameraFilter(logging.Filter):
    """Puts the name of the camera into each record, where there is one."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the name; every record passes."""
        if name := CAMERA.get():
            record.camera = name
        return True
