"""Programs that write frames into a pipe: well-behaved ones, and those that die, hang, flood and lie."""

from __future__ import annotations

import shutil
import sys
from itertools import islice
from typing import ClassVar

import numpy as np
import pytest

from edge_client.capture.address import open_source
from edge_client.capture.camera import CameraSource
from edge_client.capture.child_camera import ChildCamera, RawFraming, Y4mFraming
from edge_client.capture.programs import program_opener
from edge_client.capture.source import SourceSettings
from edge_client.capture.y4m import Y4mHeader, parse_header, to_bgr
from splitnet.backoff import Backoff
from splitnet.errors import SourceError
from tests.edge_client.capture.clips import never

HEADER = r"YUV4MPEG2 W8 H4 F10:1 C420jpeg\n"
FRAME = "b'FRAME\\n' + bytes([shade]) * 32 + bytes([128]) * 16"  # grey
WELL = f"""
out.write(b'{HEADER}')
for shade in (40, 80, 120):
    out.write({FRAME})
"""


def program(text: str) -> list[str]:
    """Return the command of a Python program that has `out`, `err` and `time`."""
    head = "import sys, time\nout, err = sys.stdout.buffer, sys.stderr.buffer\n"
    return [sys.executable, "-S", "-c", f"{head}{text}\nout.flush()\n"]


def child(text: str, timeout_s: float = 5.0, framing: object = None) -> ChildCamera:
    return ChildCamera(program(text), framing or Y4mFraming(), timeout_s)


def shades_of(camera: ChildCamera) -> list[int]:
    found = []
    while (image := camera.read(never)) is not None:
        found.append(int(image.mean()))
    return found


def test_frames_come_as_they_were_written_and_the_end_says_how_it_came_about():
    camera = child(WELL + "err.write(b'nothing more to show\\n'); out.flush(); sys.exit(3)")
    assert camera.fps == 10.0
    assert shades_of(camera) == pytest.approx([28, 75, 121], abs=2)  # limited range, as video is
    assert camera.reason.endswith("has ended with code 3: nothing more to show")
    camera.close()


def test_a_frame_that_is_cut_off_is_no_frame():
    camera = child(f"out.write(b'{HEADER}FRAME\\n' + bytes(20))")
    assert shades_of(camera) == []
    assert "has ended with code 0 in the middle of a frame" in camera.reason
    camera.close()


def test_a_program_that_floods_its_standard_error_goes_on_and_little_of_that_is_kept():
    flood = "err.write(b'x' * 99 + b'\\n')\n" * 1
    camera = child(f"for _ in range(3000):\n    {flood}{WELL}")
    assert len(shades_of(camera)) == 3
    assert len(camera._said) <= 4096
    camera.close()


def test_a_password_in_what_it_says_is_not_shown():
    camera = child(WELL + "err.write(b'cannot open rtsp://me:hidden@cam/1 user-pw=hidden\\n'); sys.exit(1)")
    shades_of(camera)
    assert "hidden" not in camera.reason and "cannot open rtsp://***@cam/1" in camera.reason
    camera.close()


def test_a_program_that_hangs_is_given_up_and_ended():
    now = [0.0]

    def clock() -> float:
        now[0] += 1.0
        return now[0]

    camera = ChildCamera(program(WELL + "out.flush(); time.sleep(600)"), Y4mFraming(), 3.0, clock)
    assert len(shades_of(camera)) == 3
    assert "has written nothing for 3 s" in camera.reason
    camera.close()
    assert camera._process.returncode is not None


def test_the_end_of_the_run_is_not_held_up_by_a_program_that_hangs():
    camera = child(f"out.write(b'{HEADER}'); out.flush(); time.sleep(600)")
    assert camera.read(lambda seconds: True) is None
    camera.close()


def test_frames_of_another_size_than_promised_end_it():
    camera = child(f"out.write(b'{HEADER}FRAME\\n' + bytes(30)); out.write(b'FRAME\\n' + bytes(300))")
    assert len(shades_of(camera)) == 1
    assert "its frames are not of the 8x4 pixels that it promised" in camera.reason
    camera.close()


def test_a_new_header_changes_the_size():
    text = WELL + "out.write(b'YUV4MPEG2 W4 H2\\nFRAME\\n' + bytes(12))"
    camera = child(text)
    sizes = []
    while (image := camera.read(never)) is not None:
        sizes.append(image.shape)
    assert sizes == [(4, 8, 3)] * 3 + [(2, 4, 3)]
    camera.close()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("out.write(b'GIF89a' + bytes(500))", "are no frames"),
        ("out.write(b'YUV4MPEG2 W8 H4 C444\\n')", "frames of 444 are not taken"),
        ("out.write(b'YUV4MPEG2 W99999 H99999\\n')", "99999x99999 pixels are not taken"),
        ("out.write(b'YUV4MPEG2 ' + b'X' * 5000)", "are no|not taken"),
        ("sys.exit('no such camera')", "ended with code 1: no such camera"),
    ],
)
def test_a_program_that_shows_no_frames_is_refused_at_once(text, says):
    with pytest.raises(SourceError, match=says):
        child(text)


def test_a_program_that_is_not_there_is_named():
    with pytest.raises(SourceError, match="no-such-program cannot be started"):
        ChildCamera(["no-such-program"], Y4mFraming(), 1.0)


def test_raw_frames_have_nothing_between_them():
    camera = child("out.write((bytes([80]) * 32 + bytes([128]) * 16) * 2)", framing=RawFraming(8, 4, 15.0))
    assert camera.fps == 15.0
    assert len(shades_of(camera)) == 2
    camera.close()


def test_a_program_that_dies_is_started_again_with_growing_pauses():
    starts, waited = [], []

    def opener() -> ChildCamera:
        starts.append(1)
        return child(WELL)

    def wait(seconds: float) -> bool:
        if seconds:
            waited.append(seconds)
        return seconds > 0 and len(waited) == 4

    source = CameraSource("gst:x ...", opener, Backoff(lambda: 1.0, first_s=0.2), 30.0, clock=lambda: 0.0)
    assert len(list(source.images(wait))) == 4 * 3
    assert (len(starts), waited) == (4, [0.2, 0.4, 0.8, 1.6])


def test_sides_may_be_odd():
    header = parse_header(b"YUV4MPEG2 W3 H5 F25:1\n")
    assert header == Y4mHeader(3, 5, 25.0) and header.frame_bytes == 15 + 2 * 6
    image = to_bgr(bytearray([235] * 15 + [128] * 12), header)
    assert image.shape == (5, 3, 3) and (image == 255).all()


@pytest.mark.parametrize("address", ["gst:", "gst:'", "ffmpeg:  ", "csi:front", "csi:0x1", "csi:-1"])
def test_what_makes_no_sense_is_refused(address):
    with pytest.raises(SourceError):
        program_opener(address, SourceSettings())


def test_what_is_not_installed_is_named_with_its_package(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "picamera2", None)
    for address, package in {"gst:x": "gstreamer1.0-tools", "ffmpeg:x": "ffmpeg", "csi:0": "python3-picamera2"}.items():
        with pytest.raises(SourceError, match=package):
            program_opener(address, SourceSettings())


class FakePicamera2:
    """What picamera2 offers of a camera."""

    opened: ClassVar[list[FakePicamera2]] = []

    def __init__(self, number: int) -> None:
        if number:
            raise IndexError("list index out of range")
        self.closed = False
        self.opened.append(self)

    def create_video_configuration(self, main, controls):
        assert main == {"size": (640, 480), "format": "RGB888"} and controls == {"FrameRate": 10.0}
        return "configured"

    def configure(self, configuration):
        assert configuration == "configured"

    def start(self):
        self.left = 2

    def capture_array(self, name):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("camera timed out")
        return np.full((480, 640, 3), 7, np.uint8)

    def close(self):
        self.closed = True


def test_a_ribbon_cable_camera_is_read_by_picamera2(monkeypatch):
    library = type(sys)("picamera2")
    library.Picamera2 = FakePicamera2
    monkeypatch.setitem(sys.modules, "picamera2", library)
    settings = SourceSettings(size=(640, 480), patience_s=0.0)
    with pytest.raises(SourceError, match=r"csi:1 cannot be opened .*out of range.*rpicam-hello"):
        open_source("csi:1", settings)
    source = open_source("csi:0", settings)
    with pytest.raises(SourceError, match="camera timed out"):
        images = [shown.image.shape for shown in source.images(never)]
        raise AssertionError(images)
    assert FakePicamera2.opened[-1].closed


def test_without_picamera2_it_is_read_by_rpicam_vid(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "picamera2", None)
    fake = tmp_path / "rpicam-vid"
    fake.write_text(f"#!{sys.executable} -S\nimport sys\nsys.stdout.buffer.write(bytes(64 * 32 * 3 // 2) * 2)\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    source = open_source("csi:0", SourceSettings(size=(64, 32), patience_s=0.0))
    with pytest.raises(SourceError, match="rpicam-vid has ended with code 0"):
        for shown in source.images(never):
            assert shown.image.shape == (32, 64, 3)
    with pytest.raises(SourceError, match="multiple of 64"):
        open_source("csi:0", SourceSettings(size=(100, 32)))


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_ffmpeg_shows_what_it_is_given():
    settings = SourceSettings(size=(64, 48), patience_s=0.0)
    source = open_source("ffmpeg:-f lavfi testsrc=size=320x240:rate=10", settings)
    assert source.fps == 10.0
    assert [shown.image.shape for shown in islice(source.images(never), 3)] == [(48, 64, 3)] * 3
    with pytest.raises(SourceError, match="No such file"):
        open_source("ffmpeg:/nowhere/clip.mp4", settings)


@pytest.mark.skipif(shutil.which("gst-launch-1.0") is None, reason="gst-launch-1.0 is not installed")
def test_gstreamer_shows_a_pipeline_whatever_sink_it_ends_in():
    settings = SourceSettings(size=(64, 48), patience_s=0.0)
    source = open_source("gst:videotestsrc ! video/x-raw,width=320,height=240 ! appsink drop=1", settings)
    assert [shown.image.shape for shown in islice(source.images(never), 3)] == [(48, 64, 3)] * 3
    with pytest.raises(SourceError, match="no element"):
        open_source("gst:nosuchelement", settings)
