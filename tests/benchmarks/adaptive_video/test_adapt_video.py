"""Clips over links that change: what the camera's frames build on, and what is said of a run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.adaptation.simulation import Device, World, simulate
from benchmarks.adaptive_video.adapt_video import CHANGES, WHOLE, gains
from benchmarks.adaptive_video.clip_camera import ClipCamera, ReceivedLatent
from benchmarks.harness.traces import steps
from edge_client.adaptation.policy import FixedPolicy
from edge_client.encoding.encoder import EncoderRuntime
from splitnet.codec.h264 import has_h264
from splitnet.operating_point import Codec, OperatingPoint

SPLIT, JPEG = OperatingPoint(Codec.RANS, 1, 1), OperatingPoint(Codec.JPEG, 0, 50)


def frames(photo: np.ndarray, count: int = 3) -> list[np.ndarray]:
    """Return a photograph with a square that moves."""
    images = [photo[:96, :128].copy() for _ in range(count)]
    for i, image in enumerate(images):
        image[20:40, 10 * i : 10 * i + 20] = 255
    return images


@pytest.fixture(scope="module")
def encoder(device) -> EncoderRuntime:
    return EncoderRuntime(device)


def test_a_frame_builds_on_the_last_one_that_was_answered(photo, encoder):
    camera = ClipCamera(frames(photo), encoder, builds=True)
    assert [camera.encode(1, SPLIT)[1], camera.encode(2, SPLIT)[1]] == [False, False]
    camera.answered(1)
    assert camera.encode(3, SPLIT)[1]
    assert not camera.encode(4, JPEG)[1]
    assert isinstance(camera.received[3], ReceivedLatent)
    assert camera.received[4].shape == (48, 64, 3)  # the canvas in the bundle's square


def test_whole_frames_build_on_nothing(photo, encoder):
    camera = ClipCamera(frames(photo), encoder, builds=False)
    camera.encode(1, SPLIT)
    camera.answered(1)
    assert not camera.encode(2, SPLIT)[1]


def test_a_clip_begins_anew_when_it_is_over(photo, encoder):
    camera = ClipCamera(frames(photo), encoder, builds=False)
    assert np.array_equal(camera.image(4), camera.image(1)) and not np.array_equal(camera.image(2), camera.image(1))


@pytest.mark.skipif(not has_h264(), reason="needs the extra video")
def test_a_stream_builds_on_its_last_picture_at_once(photo, encoder):
    camera = ClipCamera(frames(photo), encoder, builds=True)
    stream = OperatingPoint(Codec.H264, 0, 20)
    assert [camera.encode(i, stream)[1] for i in (1, 2, 3)] == [False, True, True]
    canvas = encoder.manifest.fit(128, 96, 0).apply(camera.image(3))
    assert np.abs(camera.received[3].astype(int) - canvas).mean() < 12


class NoSizes:
    def payload_bytes(self, position: int, point: OperatingPoint) -> int:
        raise AssertionError


class Told(FixedPolicy):
    """Notes which frames it is told to build on others."""

    def __init__(self) -> None:
        super().__init__(SPLIT)
        self.built: list[bool] = []

    def encoded(self, now, frame_id, point, encode_ms, payload_bytes, builds=False) -> None:
        self.built.append(builds)


class Camera:
    """Frames of 1,000 bytes that build on answered ones."""

    def __init__(self) -> None:
        self.answers: list[int] = []

    def encode(self, frame_id: int, point: OperatingPoint) -> tuple[int, bool]:
        return 1000, bool(self.answers)

    def answered(self, frame_id: int) -> None:
        self.answers.append(frame_id)


def test_a_simulated_run_asks_its_camera_and_tells_it_of_answers():
    world = World(steps([8.0], 1.0), NoSizes(), Device(lambda _: 5.0, 50.0, 1.0), 200.0, 1.0)
    policy, camera = Told(), Camera()
    logs = simulate(world, policy, camera)
    assert [log.payload_bytes for log in logs] == [1000] * 10
    assert policy.built == [False, *[True] * 9]
    assert camera.answers == list(range(1, 11))


def rows() -> Iterator[dict[str, object]]:
    for policy, fidelity in ((CHANGES, 66.0), (WHOLE, 60.0), ("local", 0.0)):
        yield {"clip": "yard", "trace": "lte", "policy": policy, "fidelity": fidelity}


def test_the_gain_is_a_share_of_what_the_other_way_finds():
    assert gains(list(rows())) == [{"clip": "yard", "trace": "lte", "over": WHOLE, "gain_percent": 10.0}]
