"""The images that the owner of a group's camera hands on: a stream of JPEGs whose parts say which frame each is.

Clocks are not compared: the owner says how old an image is when it sends it, and the device counts from its arrival.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote, urlsplit

from edge_client.capture.camera import CameraSource
from edge_client.capture.mjpeg import MjpegCamera
from edge_client.capture.source import FrameStamp, SourceImage, SourceSettings, Wait
from edge_client.frames import Image
from splitnet.backoff import Backoff
from splitnet.errors import SourceError
from splitnet.text import without_secrets

FIRST_PAUSE_S = 0.2  # before an owner that has disappeared is looked for
STREAM_HEADER, FRAME_HEADER, AGE_HEADER = "X-SlimSplit-Stream", "X-SlimSplit-Frame", "X-SlimSplit-Age-Us"
USER = "group"
MAX_AGE_S = 60.0
MAX_NUMBER = (1 << 63) - 1


def open_group_source(address: str, settings: SourceSettings) -> GroupSource:
    """Return the images of group://HOST:PORT. Raises SourceError if the address is none, or nobody is there."""
    parts = urlsplit(address)
    if not parts.hostname or parts.path.strip("/") or parts.query:
        raise SourceError(f"{without_secrets(address)}: give group://HOST:PORT, as the owner's --group-listen says")
    user = f"{USER}:{quote(settings.password, safe='')}@" if settings.password else ""
    url = f"http://{user}{parts.netloc.rpartition('@')[2]}/"
    return GroupSource(address, url, settings)


class FollowedCamera(MjpegCamera):
    """The owner's stream."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """Open it. Raises SourceError if nothing of that kind is there."""
        super().__init__(url, timeout_s)
        self.stamp: FrameStamp | None = None

    def read(self, wait: Wait) -> Image | None:
        """Return the next image whose frame is named; None if the stream has ended."""
        image = super().read(wait)
        if image is None:
            return None
        self.stamp = _stamp_of(self.part_headers)
        if self.stamp is None:
            self.reason = "its images do not say which frames they are: is that a device with --group-listen?"
            return None
        return image


class GroupSource(CameraSource):
    """The images of a group's owner, each with the number that it has in the whole group."""

    def __init__(self, address: str, url: str, settings: SourceSettings) -> None:
        """Open it. Raises SourceError if it is needed and not there."""
        self._current: FollowedCamera | None = None
        self._url, self._timeout_s = url, settings.timeout_s
        backoff = Backoff(random.random, first_s=FIRST_PAUSE_S)
        super().__init__(
            without_secrets(address), self._open_owner, backoff, settings.patience_s, is_needed=settings.is_needed
        )

    def images(self, wait: Wait) -> Iterator[SourceImage]:
        """Yield images as they come; raise SourceError when the owner stays away."""
        for shown in super().images(wait):
            assert self._current is not None
            yield replace(shown, stamp=self._current.stamp)

    def _open_owner(self) -> FollowedCamera:
        self._current = FollowedCamera(self._url, self._timeout_s)
        return self._current


def _stamp_of(headers: dict[str, str]) -> FrameStamp | None:
    """Return which frame the headers of a part name, None if they do not."""
    try:
        stream = int(headers[STREAM_HEADER.lower()], 16)
        frame_id, age_us = int(headers[FRAME_HEADER.lower()]), int(headers[AGE_HEADER.lower()])
    except (KeyError, ValueError):
        return None
    if not (0 <= stream < 1 << 64 and 0 < frame_id <= MAX_NUMBER):
        return None
    return FrameStamp(stream, frame_id, min(max(0.0, age_us / 1e6), MAX_AGE_S))
