"""Streams of JPEGs over HTTP: as cameras send them, and as they should not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from threading import Thread

import cv2
import numpy as np
import pytest

from edge_client.capture.address import open_source
from edge_client.capture.mjpeg import MjpegCamera
from edge_client.capture.source import SourceSettings
from splitnet.errors import SourceError
from tests.edge_client.capture.clips import never


def jpeg(shade: int) -> bytes:
    return bytes(cv2.imencode(".jpg", np.full((48, 64, 3), shade, np.uint8))[1])


def part(data: bytes, with_length: bool = True) -> bytes:
    length = f"Content-Length: {len(data)}\r\n" if with_length else ""
    return f"--edge\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode() + data + b"\r\n"


@contextmanager
def camera_of(
    body: bytes, kind: str = "multipart/x-mixed-replace; boundary=edge", password: str | None = None
) -> Iterator[str]:
    """Serve a body on loopback, to whoever knows the password by Basic; yields HOST:PORT."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if password is not None and self.headers.get("Authorization") != password:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def shades(camera: MjpegCamera) -> list[int]:
    found = []
    while (image := camera.read(never)) is not None:
        found.append(int(image.mean()))
    return found


@pytest.mark.parametrize("with_length", [True, False])
@pytest.mark.parametrize("boundary", ["edge", '"--edge"'])
def test_each_part_is_an_image(with_length, boundary):
    body = b"".join(part(jpeg(shade), with_length) for shade in (10, 90, 200)) + b"--edge--\r\n"
    with camera_of(body, f"multipart/x-mixed-replace;boundary={boundary}") as address:
        camera = MjpegCamera(f"http://{address}/stream", 5.0)
        assert shades(camera) == [10, 90, 200]
        assert camera.reason == "the stream has ended"
        camera.close()


def test_a_damaged_image_is_passed_over_and_counted():
    with camera_of(part(jpeg(10)) + part(b"\xff\xd8nothing") + part(jpeg(90))) as address:
        camera = MjpegCamera(f"http://{address}/", 5.0)
        assert (shades(camera), camera.unreadable) == ([10, 90], 1)
        camera.close()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"--edge\r\nContent-Length: 99999999\r\n\r\n", "99999999 bytes is too large"),
        (b"--edge\r\nContent-Length: 1000\r\n\r\nhalf", "has ended"),
        (b"noise\r\n" * 1000, "no JPEGs"),
        (b"", "has ended"),
    ],
)
def test_a_stream_that_is_none_ends(body, says):
    with camera_of(body) as address:
        camera = MjpegCamera(f"http://{address}/", 5.0)
        assert shades(camera) == [] and says in camera.reason
        camera.close()


def test_the_password_in_the_address_is_shown_to_the_camera_and_to_nobody_else():
    with camera_of(part(jpeg(10)), password="Basic bWU6aGlkZGVuIQ==") as address:
        camera = MjpegCamera(f"http://me:hidden%21@{address}/", 5.0)
        assert shades(camera) == [10]
        camera.close()
        with pytest.raises(SourceError, match="the camera answers 401") as refused:
            MjpegCamera(f"http://me:wrong!@{address}/", 5.0)
        assert "wrong!" not in str(refused.value)


def test_such_an_address_is_a_camera_that_may_come_back():
    with camera_of(part(jpeg(10)) * 2) as address:
        source = open_source(f"http://{address}/", SourceSettings(patience_s=30.0))
        assert not source.finite
        with closing(source.images(lambda seconds: False)) as shown:
            images = [int(one.image.mean()) for one in islice(shown, 5)]
    assert images == [10] * 5


def test_a_camera_that_is_away_is_refused():
    with pytest.raises(SourceError, match=r"http://127.0.0.1:9/: Connection refused"):
        open_source("http://127.0.0.1:9/", SourceSettings(timeout_s=1.0))
