"""The mark of a device's package (`device_package`), which can be looked for without loading anything."""

from __future__ import annotations

from pathlib import Path

DEVICE_FILE = "device.json"


def is_package(folder: Path) -> bool:
    """Return whether a folder holds a package."""
    return (folder / DEVICE_FILE).is_file()
