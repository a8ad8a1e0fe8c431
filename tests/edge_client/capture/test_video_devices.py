"""Cameras that are plugged in again under another number."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_client.capture import video_capture, video_devices
from edge_client.capture.video_capture import open_stream
from edge_client.capture.video_devices import NumberedCamera, lasting_name
from splitnet.errors import SourceError


@pytest.fixture
def devices(tmp_path) -> Path:
    (tmp_path / "v4l" / "by-id").mkdir(parents=True)
    (tmp_path / "v4l" / "by-path").mkdir()
    for number in (0, 1, 2):
        (tmp_path / f"video{number}").touch()
    return tmp_path


def plugged(devices: Path, name: str, number: int, folder: str = "by-id") -> Path:
    link = devices / "v4l" / folder / name
    link.unlink(missing_ok=True)
    link.symlink_to(devices / f"video{number}")
    return link


@pytest.fixture
def opened(monkeypatch) -> list[object]:
    asked: list[object] = []
    monkeypatch.setattr(video_devices, "open_index", lambda index, size: asked.append(index))
    monkeypatch.setattr(video_devices, "open_device", lambda path, size: asked.append(path.resolve().name))
    return asked


def test_a_camera_is_followed_to_its_new_number(devices, opened, caplog):
    plugged(devices, "usb-046d_C270_1234-video-index0", 0)
    camera = NumberedCamera(devices / "video0", 0, devices=devices)
    camera()
    plugged(devices, "usb-046d_C270_1234-video-index0", 2)
    camera()
    assert opened == [0, "video2"]
    assert "video0 is" in caplog.text and "video2 now" in caplog.text


def test_another_camera_does_not_take_the_place_of_one_that_is_gone(devices, opened):
    link = plugged(devices, "usb-a-video-index0", 0)
    camera = NumberedCamera(devices / "video0", devices=devices)
    camera()
    link.unlink()
    plugged(devices, "usb-b-video-index0", 0)
    with pytest.raises(SourceError, match="usb-a-video-index0 is not plugged in"):
        camera()
    assert opened == ["video0"]


def test_without_a_serial_number_the_socket_counts_and_without_either_the_number(devices, opened):
    by_path = plugged(devices, "pci-0000-usb-0:1", 1, "by-path")
    assert lasting_name(devices / "video1", devices) == by_path
    assert lasting_name(devices / "video2", devices) is None
    camera = NumberedCamera(devices / "video2", 2, devices=devices)
    camera(), camera()
    assert opened == [2, 2]


def test_how_rtsp_is_sent_is_said_to_opencv_for_that_stream_only(monkeypatch):
    seen: list[object] = []

    def capture(url, backend, timeouts):
        seen.append((video_capture.os.environ.get(video_capture.OPTIONS_VARIABLE), timeouts[1], timeouts[3]))

    monkeypatch.delenv(video_capture.OPTIONS_VARIABLE, raising=False)
    monkeypatch.setattr(video_capture.cv2, "VideoCapture", capture)
    open_stream("rtsp://cam/1", 2.5, "udp")
    open_stream("rtsp://cam/1")
    monkeypatch.setenv(video_capture.OPTIONS_VARIABLE, "rtsp_transport;http")
    open_stream("rtsp://cam/1", 5.0, "tcp")
    assert seen == [("rtsp_transport;udp", 2500, 2500), (None, 5000, 5000), ("rtsp_transport;http", 5000, 5000)]
