"""Frames and boxes shown while they come."""

from __future__ import annotations

import http.client
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from edge_client.output import view, view_page
from edge_client.output.view import WindowSink, view_sink
from edge_client.output.view_page import ViewPage
from splitnet.errors import ConfigError
from tests.support.client_samples import NAMES, result


@pytest.fixture
def page():
    with closing(ViewPage(NAMES, 0)) as one:
        yield one


@contextmanager
def asked(page: ViewPage, path: str, host: str | None = None):
    """Yield the answer to a request."""
    address = urlsplit(page.where)
    with closing(http.client.HTTPConnection(address.hostname, address.port, timeout=10)) as connection:
        connection.request("GET", path, headers={} if host is None else {"Host": host})
        yield connection.getresponse()


def test_the_page_shows_the_stream_and_nothing_else_is_there(page):
    assert page.where.startswith("http://127.0.0.1:")
    with asked(page, "/") as answer:
        assert (answer.status, answer.read().count(b'src="/stream"')) == (200, 1)
    with asked(page, "/../etc/passwd") as answer:
        assert answer.status == 404


def next_image(answer) -> np.ndarray:
    """Read one part of the stream."""
    assert answer.readline() == b"--frame\r\n"
    assert answer.readline() == b"Content-Type: image/jpeg\r\n"
    length = int(answer.readline().partition(b": ")[2])
    assert answer.readline() == b"\r\n"
    image = cv2.imdecode(np.frombuffer(answer.read(length), np.uint8), cv2.IMREAD_COLOR)
    assert answer.readline() == b"\r\n"
    return image


def test_every_viewer_gets_the_frames_that_come_from_then_on(page):
    page.write(result(1))  # nobody looks
    with asked(page, "/stream") as first, asked(page, "/stream") as second:
        for size in ((64, 48), (32, 24)):
            page.write(result(2, size=size))
            for answer in (first, second):
                assert next_image(answer).shape == (size[1], size[0], 3)
        page.close()
        assert first.readline() + first.read() == b"--frame\r\n"


def test_viewers_are_few(page, monkeypatch):
    monkeypatch.setattr(view_page, "MAX_VIEWERS", 1)
    with asked(page, "/stream") as first, asked(page, "/stream") as second:
        assert (first.status, second.status) == (200, 503)


@pytest.mark.parametrize("host", ["evil.example:8090", "", "192.168.1.2:80"])
def test_a_page_of_another_site_that_points_its_name_here_gets_nothing(page, host):
    with asked(page, "/stream", host) as answer:
        assert answer.status == 403


def test_a_port_that_is_taken_is_refused(page):
    with pytest.raises(ConfigError, match="choose another --view-port"):
        ViewPage(NAMES, urlsplit(page.where).port)


@pytest.mark.parametrize(
    ("display", "framework", "kind"), [(":0", "GTK3", WindowSink), ("", "GTK3", ViewPage), (":0", "", ViewPage)]
)
def test_a_window_needs_a_display_and_an_opencv_that_has_windows(display, framework, kind, monkeypatch):
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(view.cv2, "currentUIFramework", lambda: framework)
    monkeypatch.setattr(view.cv2, "destroyAllWindows", lambda: None)
    with closing(view_sink(NAMES, 0)) as sink:
        assert isinstance(sink, kind)


def test_a_window_shows_each_result(monkeypatch):
    shown = []
    monkeypatch.setattr(view.cv2, "imshow", lambda title, image: shown.append(image.shape))
    monkeypatch.setattr(view.cv2, "waitKey", lambda delay: -1)
    WindowSink(NAMES).write(result(1))
    assert shown == [(48, 64, 3)]


def test_a_display_that_takes_no_window_fails_this_sink_only(monkeypatch):
    def refused(title, image):
        raise cv2.error("no display")

    monkeypatch.setattr(view.cv2, "imshow", refused)
    with pytest.raises(OSError, match="no window can be opened"):
        WindowSink(NAMES).write(result(1))
