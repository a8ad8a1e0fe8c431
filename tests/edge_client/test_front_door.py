"""The front door for programs: the example in the documentation, word for word."""

from __future__ import annotations

import asyncio
import textwrap
from pathlib import Path
from typing import Any

import cv2
import pytest

from edge_client import build
from edge_client.adaptation.profile import DeviceProfile
from edge_client.encoding.backends import ONNXRUNTIME, TORCH
from edge_client.measuring.profile_cache import device_fingerprint, keep_profile
from edge_client.transport.session import open_session
from splitnet.manifest import Accuracy, Manifest
from splitnet.measured_point import MeasuredPoint
from splitnet.messages import SessionOpened
from splitnet.operating_point import Codec, Mode
from tests.support.fake_server import FakeService, serving
from tests.support.tiny_bundle import write_tiny_bundle

PROJECT = Path(__file__).resolve().parents[2]
FRAMES = 4
POINTS = (
    MeasuredPoint(Mode.SPLIT, Codec.RANS, 1, 0, 20.0, 35.0, 300.0, 400.0, 1.0, 40.0),
    MeasuredPoint(Mode.SPLIT, Codec.RANS, 4, 2, 24.0, 40.0, 900.0, 1200.0, 2.0, 141.0),
)


@pytest.fixture
def example() -> str:
    """Return the example in the module's documentation."""
    assert build.__doc__ is not None
    lines = build.__doc__.splitlines()
    indented = [line for line in lines if line.startswith("    ") or not line]
    return textwrap.dedent("\n".join(indented)).strip()


@pytest.fixture
def measured_bundle(tmp_path) -> Manifest:
    manifest = write_tiny_bundle(tmp_path / "tiny").with_measurements(Accuracy(28.7, 43.4), POINTS)
    manifest.write(tmp_path / "tiny")
    return manifest


@pytest.fixture
def measured_device(tmp_path, monkeypatch, measured_bundle) -> None:
    """Keep a profile of this device, so that nothing has to be measured."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    times = {"w1 q0": 1.0, "w4 q2": 2.0}
    for backend in (TORCH, ONNXRUNTIME):
        assert keep_profile(DeviceProfile(device_fingerprint("cpu", 1, backend), measured_bundle.digest, times, 5.0))


@pytest.fixture
def street(tmp_path, monkeypatch, photo) -> None:
    """Put the example's video into the current folder."""
    monkeypatch.chdir(tmp_path)
    video = cv2.VideoWriter("street.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 50.0, (640, 480))
    for _ in range(FRAMES):
        video.write(photo)
    video.release()


@pytest.mark.usefixtures("measured_device", "street", "keep_threads")
async def test_the_example_detects_and_adapts(example, measured_bundle, tmp_path, monkeypatch, capsys):
    service = FakeService(SessionOpened(measured_bundle.name, measured_bundle.digest, "fake server 1"))
    load_encoder, load_local, tiny = build.load_encoder, build.load_local, tmp_path / "tiny"
    async with serving(service) as address:
        monkeypatch.setattr(
            "edge_client.pipeline.open_session", lambda server, *rest, **how: open_session(address, *rest)
        )
        monkeypatch.setattr(build, "load_encoder", lambda folder, *rest: load_encoder(tiny, *rest))
        monkeypatch.setattr(build, "load_local", lambda folder, *rest: load_local(tiny, *rest))
        names: dict[str, Any] = {}
        await asyncio.to_thread(exec, compile(example, "edge_client/build.py", "exec"), names)
    statistics = names["statistics"]
    assert statistics.captured == FRAMES
    assert statistics.prediction.frames == statistics.detected > 0  # every frame's time was predicted
    *shown, last = capsys.readouterr().out.splitlines()
    assert len(shown) == statistics.detected
    assert shown[0].startswith("frame ")
    assert last == f"{statistics.detected} of {FRAMES} frames, {statistics.late} of them late"


def test_the_documentation_shows_the_same_example(example):
    def without_blank_lines(text: str) -> str:
        return "\n".join(line for line in text.splitlines() if line)

    pages = [PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")]
    assert any(without_blank_lines(example) in without_blank_lines(page.read_text("utf-8")) for page in pages)
