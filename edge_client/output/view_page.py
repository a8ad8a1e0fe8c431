"""A web page of this machine that shows frames and boxes while they come (multipart/x-mixed-replace of JPEG).

Each camera has a stream of its own, and the page shows all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2

from edge_client.frames import FrameResult
from edge_client.output.drawing import annotated
from splitnet.errors import ConfigError

LOOPBACK = "127.0.0.1"
MAX_VIEWERS = 4
TIMEOUT_S = 5.0  # for a viewer that takes nothing
POLL_S = 0.05  # between looks at whether the page is to end
JPEG_QUALITY = 80
STREAM = "/stream"
_BOUNDARY = "frame"
_PAGE = """<!doctype html><meta charset="utf-8"><title>edge-client</title>
<body style="margin:0;background:#222;display:flex;flex-wrap:wrap">{images}</body>
"""
_IMAGE = '<img src="{stream}" style="flex:1 1 {share}%;min-width:0;width:{share}%" alt="waiting for frames of {name}">'


class ViewPage:
    """A sink whose latest frame every open page shows. Frames are drawn only while somebody looks."""

    option = "--view"

    def __init__(self, class_names: Sequence[str], port: int, cameras: Sequence[str] = ("",)) -> None:
        """Listen on a port of loopback; 0: a free one. Raises ConfigError if it is taken."""
        self._class_names = class_names
        self._latest = {camera: _Latest() for camera in cameras}
        try:
            self._server = _Server((LOOPBACK, port), _Handler)
        except OSError as error:
            reason = f"port {port} cannot be had ({error.strerror}); choose another --view-port"
            raise ConfigError(f"the page of --view: {reason}") from error
        self._server.streams = {stream_of(camera): latest for camera, latest in self._latest.items()}
        self._server.page = page_of(cameras).encode()
        threading.Thread(target=self._server.serve_forever, args=(POLL_S,), name="view page", daemon=True).start()

    @property
    def where(self) -> str:
        """The address of the page."""
        return f"http://{LOOPBACK}:{self._server.server_address[1]}/"

    def write(self, result: FrameResult) -> None:
        """Show a frame, if anybody looks."""
        latest = self._latest[result.frame.camera]
        if latest.viewers:
            image = annotated(result, self._class_names)
            _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            latest.put(encoded.tobytes())

    def close(self) -> None:
        """End the page."""
        for latest in self._latest.values():
            latest.put(None)
        self._server.shutdown()
        self._server.server_close()


def stream_of(camera: str) -> str:
    """Return the path of a camera's stream."""
    return f"{STREAM}/{camera}" if camera else STREAM


def page_of(cameras: Sequence[str]) -> str:
    """Return the page: an image for each camera, in rows of two. Their names are plain (`camera_list`)."""
    share = 100 if len(cameras) == 1 else 50
    images = [_IMAGE.format(stream=stream_of(name), share=share, name=name or "the camera") for name in cameras]
    return _PAGE.format(images="".join(images))


class _Latest:
    """The newest image, for any number of viewers. None: there will be no more."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._image: bytes | None = b""
        self._number = 0
        self.viewers = 0

    def put(self, image: bytes | None) -> None:
        with self._changed:
            self._image, self._number = image, self._number + 1
            self._changed.notify_all()

    def after(self, number: int) -> tuple[int, bytes | None]:
        """Wait for an image newer than that of a number."""
        with self._changed:
            self._changed.wait_for(lambda: self._number > number or self._image is None)
            return self._number, self._image

    def enter(self) -> bool:
        """Count a viewer in; return False if there are enough."""
        with self._changed:
            if self.viewers == MAX_VIEWERS:
                return False
            self.viewers += 1
            return True

    def leave(self) -> None:
        with self._changed:
            self.viewers -= 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    streams: Mapping[str, _Latest]
    page: bytes

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a viewer that has gone is no failure of the run."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = TIMEOUT_S

    def do_GET(self) -> None:
        """Send the page, or the stream that it shows."""
        if not self._is_asked_locally():
            self.send_error(HTTPStatus.FORBIDDEN)
        elif self.path == "/":
            self._send_page()
        elif (latest := self.server.streams.get(self.path)) is not None:
            self._send_stream(latest)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _is_asked_locally(self) -> bool:
        """Return whether the request names this machine: a page from elsewhere may point its own name here."""
        return self.headers.get("Host", "").rpartition(":")[0] in (LOOPBACK, "localhost")

    def _send_page(self) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(self.server.page)))
        self.end_headers()
        self.wfile.write(self.server.page)

    def _send_stream(self, latest: _Latest) -> None:
        if not latest.enter():
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, "too many viewers")
            return
        try:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            with suppress(OSError):  # it has gone, or takes nothing
                self._send_images(latest)
        finally:
            latest.leave()

    def _send_images(self, latest: _Latest) -> None:
        number, boundary = 0, f"--{_BOUNDARY}\r\n"
        self.wfile.write(boundary.encode())
        while True:
            number, image = latest.after(number)
            if image is None:
                return
            head = f"Content-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n"
            self.wfile.write(head.encode() + image + f"\r\n{boundary}".encode())  # it is shown once the next one begins

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing of requests."""
