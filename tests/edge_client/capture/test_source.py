"""Sources behind addresses, and sources shown over and over."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import pytest

from edge_client.capture import address, video_capture
from edge_client.capture.address import open_source
from edge_client.capture.camera import CameraSource
from edge_client.capture.image_folder import ImageFolderSource
from edge_client.capture.source import LoopedSource, SourceSettings
from edge_client.capture.video_file import VideoSource
from splitnet.errors import SourceError
from tests.edge_client.capture.clips import never, shades, write_clip, write_images


def opened(shown, loop: bool = False):
    return open_source(str(shown), SourceSettings(patience_s=1, loop=loop))


@pytest.fixture
def clip(tmp_path):
    return write_clip(tmp_path / "clip.avi")


def test_files_and_folders_are_finite_and_a_loop_is_what_it_shows(tmp_path, clip):
    write_images(tmp_path, 2)
    kinds = {tmp_path: ImageFolderSource, clip: VideoSource, tmp_path / "000.png": ImageFolderSource}
    for shown, kind in kinds.items():
        assert isinstance(opened(shown), kind)
        assert opened(shown).finite
        looped = opened(shown, loop=True)
        assert isinstance(looped, LoopedSource) and looped.finite and looped.fps == opened(shown).fps


def test_a_single_image_is_a_source(tmp_path):
    write_images(tmp_path, 3)
    assert [shown.file for shown in opened(tmp_path / "001.png").images(never)] == ["001.png"]


def test_a_folder_shown_over_and_over_is_one_film(tmp_path):
    write_images(tmp_path, 3)
    (tmp_path / "000b.png").write_bytes(b"")
    source = opened(tmp_path, loop=True)
    images = list(islice(source.images(never), 8))
    assert shades(images) == [0, 1, 2, 0, 1, 2, 0, 1]
    assert [shown.position_s for shown in images] == pytest.approx([n / 10 for n in range(8)])
    assert source.unreadable == 3


def test_a_video_shown_over_and_over_is_one_film(clip):
    once = shades(opened(clip).images(never))
    images = list(islice(opened(clip, loop=True).images(never), 15))
    assert shades(images) == [*once, *once, *once[:3]]
    assert images[-1].position_s == pytest.approx(14 / 12.5)


def test_a_folder_without_one_readable_image_is_not_shown_over_and_over(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"nothing")
    with pytest.raises(SourceError, match="none of the images"):
        next(opened(tmp_path, loop=True).images(never))


@pytest.mark.parametrize("stem", ["2026-11-30T14:02:37", "caf\udce9", "100%", "img_%03d", "-i", "größe"])
def test_a_file_may_have_any_name(tmp_path, monkeypatch, stem):
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "plain.avi").rename(f"{stem}.avi")
    (shown, *_) = opened(f"{stem}.avi").images(never)
    assert shown.file == f"{stem}.avi"


def test_a_file_url_is_the_file_once(tmp_path):
    clip = write_clip(tmp_path / "a clip.avi")
    assert len(list(opened(clip.as_uri()).images(never))) == 6
    assert len(list(opened(f"FILE://localhost{tmp_path}/a%20clip.avi").images(never))) == 6
    with pytest.raises(SourceError, match="no such file or folder"):
        opened("file:///nowhere/a.mp4")


@pytest.mark.parametrize("shown", ["/nowhere/at-all", "", "\0", "12345", "٣", "²", "x" * 5000, "ca\udce9"])
def test_what_is_nothing_is_refused(shown):
    with pytest.raises(SourceError, match="no such file or folder"):
        opened(shown)


@pytest.mark.parametrize(
    "shown", ["rtsp://admin:secret@127.0.0.1:9/x", "rtsp:/admin:secret@x", "rtsp://127.0.0.1:9/?password=secret"]
)
def test_a_password_is_never_shown(shown, monkeypatch):
    monkeypatch.setattr(address, "open_stream", lambda *how: cv2.VideoCapture())
    with pytest.raises(SourceError) as raised:
        opened(shown)
    assert "secret" not in str(raised.value)
    assert "***" in str(raised.value)


def test_a_camera_that_is_not_there_is_refused_at_once():
    with pytest.raises(SourceError, match="camera 97 cannot be opened"):
        opened("97")


class Camera:
    """A capture that shows nothing."""

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, prop: int) -> float:
        return 0.0


def test_a_device_file_or_a_link_to_one_is_a_camera(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(video_capture.cv2, "VideoCapture", lambda *how: asked.append(how) or Camera())
    (tmp_path / "by-id").symlink_to("/dev/null")  # a character device, as cameras are
    for shown in ("/dev/null", tmp_path / "by-id"):
        assert isinstance(opened(shown), CameraSource)
    assert asked == [("/dev/null", cv2.CAP_V4L2)] * 2


def test_a_named_pipe_is_a_camera(tmp_path):
    pipe = tmp_path / "caf\udce9"
    os.mkfifo(pipe)
    frame = cv2.imencode(".jpg", np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
    writer = Thread(target=lambda: Path(pipe).write_bytes(frame * 200), daemon=True)
    writer.start()
    source = opened(pipe)
    (shown, *_) = islice(source.images(never), 3)
    assert (source.finite, shown.file, shown.image.shape) == (False, None, (48, 64, 3))


def test_a_socket_is_no_source(tmp_path):
    import socket

    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "socket"))
        with pytest.raises(SourceError, match="no such file or folder"):
            opened(tmp_path / "socket")


@contextmanager
def web_server(folder: Path):
    """Yield the address of a server of files on loopback."""
    handler = partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_) -> None:
        pass


@pytest.mark.usefixtures("_no_proxy")
def test_a_video_on_the_web_is_shown_once(tmp_path):
    write_clip(tmp_path / "a.avi")
    with web_server(tmp_path) as address:
        source = opened(f"{address}/a.avi")
        assert source.finite
        assert [shown.file for shown in source.images(never)] == [f"{address}/a.avi"] * 6


@pytest.fixture
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
