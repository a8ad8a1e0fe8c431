"""Hands the images of a group's camera on to the group's other devices: a stream of JPEGs over HTTP.

Whoever does not keep up misses images; nobody waits for anybody. A browser can show the stream, too.
"""

from __future__ import annotations

import base64
import hmac
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from edge_client.capture.group_source import AGE_HEADER, FRAME_HEADER, STREAM_HEADER, USER
from edge_client.capture.mjpeg import MULTIPART
from edge_client.frames import CapturedFrame
from splitnet.bounded_http import BoundedServer
from splitnet.codec.image_codec import compress_image
from splitnet.errors import ConfigError
from splitnet.operating_point import Codec

MAX_FOLLOWERS = 128  # a part of 64 and its spare each
TIMEOUT_S = 5.0  # for one that asks for nothing, or takes nothing
POLL_S = 0.1
BOUNDARY = "slimsplit-frame"


class SharedCamera:
    """Serves the newest frame to whoever follows, from now on until it is closed."""

    def __init__(
        self,
        address: tuple[str, int],
        password: str = "",
        quality: int = 95,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take HOST and port (0: a free one), the password that followers show, and the quality of the JPEGs.

        clock: that of the frames' capture times. Raises ConfigError if the port is taken.
        """
        host, port = address
        self._changed = threading.Condition()
        self._frame: CapturedFrame | None = None
        self._jpeg: tuple[CapturedFrame, bytes] | None = None
        self._closed = False
        self._quality = quality
        self.clock = clock
        try:
            self._server = _Server((host.strip("[]"), port), _Handler)
        except OSError as error:
            reason = f"{host}:{port} cannot be had ({error.strerror}): the port is taken, or not of this machine"
            raise ConfigError(f"--group-listen {reason}") from error
        self._server.camera, self._server.credentials = self, _credentials(password)
        threading.Thread(target=self._server.serve_forever, args=(POLL_S,), name="group camera", daemon=True).start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._server.server_address[1])

    def give(self, frame: CapturedFrame) -> None:
        """Hand a frame on to whoever follows. Returns at once; from any thread."""
        with self._changed:
            self._frame = frame
            self._changed.notify_all()

    def close(self) -> None:
        """End all streams."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()

    def next(self, after: CapturedFrame | None) -> tuple[CapturedFrame, bytes] | None:
        """Wait for a frame other than one; returns it with its JPEG, None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._frame is not after)
            if self._closed or self._frame is None:
                return None
            frame = self._frame
            if self._jpeg is None or self._jpeg[0] is not frame:  # once for all followers, who wait for it here
                self._jpeg = frame, compress_image(frame.image, Codec.JPEG, self._quality)
            return self._jpeg


def _credentials(password: str) -> bytes:
    """Return what a follower's Authorization header must be; empty for none."""
    return b"Basic " + base64.b64encode(f"{USER}:{password}".encode()) if password else b""


class _Server(BoundedServer):
    most = MAX_FOLLOWERS
    camera: SharedCamera
    credentials: bytes


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = TIMEOUT_S

    def do_GET(self) -> None:
        """Send frames until somebody has had enough."""
        shown = self.headers.get("Authorization", "").encode()
        if self.server.credentials and not hmac.compare_digest(shown, self.server.credentials):
            self.send_response(HTTPStatus.UNAUTHORIZED)
            self.send_header("WWW-Authenticate", 'Basic realm="group"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        with suppress(OSError):  # it has gone, or takes nothing
            self._send_frames(self.server.camera)

    def _send_frames(self, camera: SharedCamera) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", f"{MULTIPART}; boundary={BOUNDARY}")
        self.end_headers()
        frame: CapturedFrame | None = None
        while (found := camera.next(frame)) is not None:
            frame, jpeg = found
            age_us = round(1e6 * (camera.clock() - frame.capture_time))
            lines = (
                f"--{BOUNDARY}",
                "Content-Type: image/jpeg",
                f"Content-Length: {len(jpeg)}",
                f"{STREAM_HEADER}: {frame.stream:016x}",
                f"{FRAME_HEADER}: {frame.frame_id}",
                f"{AGE_HEADER}: {age_us}",
            )
            self.wfile.write("\r\n".join([*lines, "", ""]).encode() + jpeg + b"\r\n")

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing of requests."""
