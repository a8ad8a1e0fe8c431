"""Sources of images, as the rest of the client sees them. See `address` for how one is opened."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from edge_client.frames import Image

AUTO, TCP, UDP = TRANSPORTS = ("auto", "tcp", "udp")
NETWORK_TIMEOUT_S = 5.0

Size = tuple[int, int]  # width, height in pixels
Wait = Callable[[float], bool]  # sleeps for the seconds given; returns True at once if the run is being stopped


@dataclass(frozen=True)
class FrameStamp:
    """Which frame an image is, as another device has numbered it."""

    stream: int  # the run of the camera
    frame_id: int
    age_s: float  # since its capture


@dataclass(frozen=True)
class SourceImage:
    """One image of a source. position_s: seconds from the source's start. file: the name of the file it comes from.

    stamp: which frame it is, if another device has said so.
    """

    position_s: float
    image: Image
    file: str | None = None
    stamp: FrameStamp | None = None


@dataclass(frozen=True)
class SourceSettings:
    """How sources are opened."""

    fps: float = 10.0  # of folders and csi: cameras
    loop: bool = False  # show a folder or file over and over
    patience_s: float = 30.0  # how long to look for a camera that has disappeared
    timeout_s: float = NETWORK_TIMEOUT_S  # without a frame: then a network camera or a program has gone
    transport: str = AUTO  # of rtsp: one of TRANSPORTS
    size: Size | None = None  # (width, height) that cameras and programs are asked for
    is_needed: bool = True  # a camera that cannot be opened at the start is an error, not one that will come
    password: str = ""  # of the images that another device of the group hands on


class Source(Protocol):
    """Yields images. `finite` sources, which are paced, are files and folders."""

    finite: bool
    fps: float

    @property
    def unreadable(self) -> int:
        """How many images were passed over."""
        ...

    def images(self, wait: Wait) -> Iterator[SourceImage]:
        """Yield images until the source ends; raise SourceError when it is gone for good."""
        ...


class LoopedSource:
    """A folder or file over and over, as one film without an end: its time runs on from round to round."""

    finite = True  # it waits for its first link, and is paced, as what it shows

    def __init__(self, shown: Source) -> None:
        self.fps = shown.fps
        self._shown = shown

    @property
    def unreadable(self) -> int:
        """Images passed over, counted again in every round."""
        return self._shown.unreadable

    def images(self, wait: Wait) -> Iterator[SourceImage]:
        """Yield images until nobody asks for more; raise SourceError if there is none."""
        begin_s = 0.0
        for _ in itertools.count():
            end_s = begin_s
            for shown in self._shown.images(wait):
                end_s = begin_s + shown.position_s
                yield SourceImage(end_s, shown.image, shown.file)
            begin_s = end_s + 1 / self.fps
