"""Frames and boxes shown while they come: in a window, or where there is none, on a web page of this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2

from edge_client.frames import FrameResult
from edge_client.output.drawing import annotated

if TYPE_CHECKING:
    from edge_client.output.view_page import ViewPage

TITLE = "edge-client"


def has_window() -> bool:
    """Return whether there is a display, and an OpenCV that can open windows on it."""
    has_display = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    try:
        return has_display and bool(cv2.currentUIFramework())
    except (AttributeError, cv2.error):  # built without any
        return False


def view_sink(class_names: Sequence[str], port: int, cameras: Sequence[str] = ("",)) -> WindowSink | ViewPage:
    """Return a window for each camera where there can be one, else a page on a port of loopback; 0: a free one.

    Raises ConfigError if the port is taken.
    """
    if has_window():
        return WindowSink(class_names)
    from edge_client.output.view_page import ViewPage  # here: its server is seldom needed

    return ViewPage(class_names, port, cameras)


class WindowSink:
    """Shows every result in the window of its camera."""

    option = "--view"
    where = "a window"

    def __init__(self, class_names: Sequence[str]) -> None:
        self._class_names = class_names

    def write(self, result: FrameResult) -> None:
        """Show a frame; raise OSError if the display takes no window."""
        try:
            camera = result.frame.camera
            cv2.imshow(f"{TITLE}: {camera}" if camera else TITLE, annotated(result, self._class_names))
            cv2.waitKey(1)  # lets the window be drawn
        except cv2.error as error:
            raise OSError(f"no window can be opened ({error.err}); without DISPLAY, a page is served") from error

    def close(self) -> None:
        """Close the window."""
        cv2.destroyAllWindows()
