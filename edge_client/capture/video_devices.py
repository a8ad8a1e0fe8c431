"""Cameras by their numbers, and the names that last: a camera that is plugged in again may get another number."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from edge_client.capture.source import Size
from edge_client.capture.video_capture import Capture, open_device, open_index
from splitnet.errors import SourceError

logger = logging.getLogger(__name__)

DEVICES = Path("/dev")
LASTING = ("v4l/by-id", "v4l/by-path")  # of the kernel's device manager: by maker and serial number, by socket


class NumberedCamera:
    """Opens /dev/video0 the first time, and later the same camera, whatever its number is then."""

    def __init__(
        self, device: Path, index: int | None = None, size: Size | None = None, devices: Path = DEVICES
    ) -> None:
        """Take the device. index: its number, if it was given so: that finds cameras elsewhere than in /dev, too."""
        self._device = device
        self._index = index
        self._size = size
        self._lasting = lasting_name(device, devices)
        self._is_first = True

    def __call__(self) -> Capture:
        """Open it. Raises SourceError if it is not plugged in."""
        if self._is_first or self._lasting is None:
            self._is_first = False
            return (
                open_index(self._index, self._size)
                if self._index is not None
                else open_device(self._device, self._size)
            )
        if not self._lasting.exists():
            raise SourceError(f"{self._lasting} is not plugged in")
        self._follow(self._lasting)
        return open_device(self._lasting, self._size)

    def _follow(self, lasting: Path) -> None:
        now = Path(os.path.realpath(lasting))
        if now != self._device:
            logger.warning("%s is %s now", self._device, now)
            self._device = now


def lasting_name(device: Path, devices: Path = DEVICES) -> Path | None:
    """Return a link to a device that goes with the camera; None if there is none. A link lasts already."""
    if device.is_symlink():
        return device
    for folder in LASTING:
        for link in sorted((devices / folder).glob("*")):
            if Path(os.path.realpath(link)) == device:
                return link
    return None
