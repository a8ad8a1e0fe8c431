"""A real daemon, two real bundles and a plan: two tasks of one stream, served from one shared front."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch

from benchmarks.harness.processes import ServerProcess, server_process
from protos.split_inference_pb2_grpc import SplitInferenceStub
from splitnet.bundle import load_detector, load_device
from splitnet.codec.image_codec import compress_image, decompress_image
from splitnet.detections import Detections
from splitnet.letterbox import Letterbox
from splitnet.manifest import Manifest, load_manifest
from splitnet.messages import Frame, FrameDetections, FrameError, OpenSession, SessionOpened
from splitnet.nn.architectures import architecture_of
from splitnet.nn.joint import COPY
from splitnet.nn.merged import Merged
from splitnet.nn.split_detector import image_input
from splitnet.operating_point import Codec, OperatingPoint
from splitnet.sharing_plan import PLAN_FILE, load_joints, load_plan
from splitnet.wire.sessions import reply_from_proto, request_to_proto
from tests.conftest import PROJECT
from tests.support.planned_pair import write_plan
from training.sharing.members import Member
from training.sharing.merge import same_names

COCO, HIGHWAY = PROJECT / "bundles" / "coco-nano", PROJECT / "bundles" / "highway-nano"
JPEG, FEATURES = OperatingPoint(Codec.JPEG, 0, 90), OperatingPoint(Codec.RANS, 4, 10)
SIDE = 416
TIMEOUT_S = 30


@pytest.fixture(scope="module")
def manifests() -> tuple[Manifest, Manifest]:
    return load_manifest(COCO), load_manifest(HIGHWAY)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, manifests: tuple[Manifest, Manifest]) -> Path:
    """Return a plan by which highway-nano uses coco-nano's first stages as they are, up to dark4."""
    folder = tmp_path_factory.mktemp("plan") / "plan"
    write_plan(folder, manifests, same_names(Member.load(COCO), Member.load(HIGHWAY), "dark4", COPY))
    return folder


@pytest.fixture
def server(plan: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    served = ("--bundle", str(HIGHWAY), "--plan", str(plan), "--threads", "1", "--no-tune")
    with server_process(COCO, tmp_path / "server.log", *served) as running:
        yield running


class Client:
    """A session of one device, message by message."""

    def __init__(self, address: str, first: str, *further: str) -> None:
        self._channel = grpc.insecure_channel(address)

        self._first, self._further = first, further

    def exchange(self, frame: Frame) -> tuple[SessionOpened, FrameDetections | FrameError]:
        """Open a session, send a frame and return the opening's answer and the frame's."""
        messages = [OpenSession("camera-1", self._first, further_digests=self._further), frame]
        replies = SplitInferenceStub(self._channel).Detect(map(request_to_proto, messages), timeout=TIMEOUT_S)
        opened, _, answer = [reply_from_proto(reply) for reply in replies]
        assert isinstance(opened, SessionOpened) and isinstance(answer, FrameDetections | FrameError)
        return opened, answer

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()


def image(photo: np.ndarray) -> Frame:
    height, width = photo.shape[:2]
    canvas = Letterbox.fit(width, height, SIDE).apply(photo)
    return Frame(1, 0, JPEG, compress_image(canvas, JPEG.codec, JPEG.quality), width, height)


def features(photo: np.ndarray) -> Frame:
    device, (height, width) = load_device(COCO), photo.shape[:2]
    symbols = device.encoder.encode(Letterbox.fit(width, height, SIDE).apply(photo), FEATURES.width, FEATURES.quality)
    payload = device.codec.compress(symbols, FEATURES.width, FEATURES.quality)
    return Frame(1, 0, FEATURES, payload, width, height)


@torch.inference_mode()
def promised(plan_folder: Path, frame: Frame) -> Detections:
    """Return what the plan says that highway-nano finds in an image, without the server's code."""
    plan = load_plan(plan_folder)
    (merge,) = plan.merges
    donor, recipient = (load_detector(folder, load_manifest(folder)) for folder in (COCO, HIGHWAY))
    assert donor is not None and recipient is not None
    merged = Merged(merge.spec, donor, recipient, load_joints(plan_folder, plan)[merge.recipient])
    box = Letterbox.fit(frame.frame_width, frame.frame_height, SIDE)
    raw = merged(image_input(decompress_image(frame.payload, Codec.JPEG, SIDE, SIDE), SIDE)[None])
    (found,) = architecture_of(recipient.name).detections(raw, SIDE)
    return Detections(box.boxes_to_frame(found.boxes), found.scores, found.labels)


def assert_same(found: Detections, expected: Detections) -> None:
    assert len(expected) > 0
    assert found.labels.tolist() == expected.labels.tolist()
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.05)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)


def log_lines(log: Path, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def refreshed(server: ServerProcess, log: Path, count: int) -> dict[str, Any]:
    """Tell the daemon to look again and return what it says of it."""
    server.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + TIMEOUT_S
    while len(lines := log_lines(log, "bundles refreshed")) < count:
        assert time.monotonic() < end, "the daemon has not looked again"
        time.sleep(0.05)
    return lines[-1]


def test_two_tasks_of_one_stream_get_the_boxes_that_the_plan_promises(server, plan, manifests, photo):
    coco, highway = manifests
    frame = image(photo)
    with Client(server.address, coco.digest, highway.digest) as both, Client(server.address, coco.digest) as one:
        opened, answer = both.exchange(frame)
        _, alone = one.exchange(frame)
    assert [(one.bundle_name, one.takes_features) for one in opened.further] == [("highway-nano", True)]
    assert opened.further[0].bundle.class_names == highway.class_names
    assert_same(answer.further[0], promised(plan, frame))
    assert_same(answer.detections, alone.detections)
    # A device that asks for the recipient alone gets the same of it.
    with Client(server.address, highway.digest) as merged:
        assert_same(merged.exchange(frame)[1].detections, answer.further[0])
    # One analysis of features answers both tasks.
    with Client(server.address, coco.digest, highway.digest) as both:
        _, answer = both.exchange(features(photo))
    assert len(answer.detections) > 0 and len(answer.further) == 1


def test_a_plan_is_taken_back_and_put_in_force_while_frames_flow(server, plan, manifests, photo, tmp_path):
    (_, highway), log = manifests, tmp_path / "server.log"
    frame, kept = image(photo), (plan / PLAN_FILE).read_text()
    with Client(server.address, highway.digest) as device:
        merged = device.exchange(frame)[1].detections
        try:
            (plan / PLAN_FILE).write_text(kept.replace(highway.digest, "ab" * 32))
            said = refreshed(server, log, 1)
            assert "was edited or damaged" in str(said["refused"]) and "highway-nano" in str(said["loaded"])
            alone = device.exchange(frame)[1].detections
        finally:
            (plan / PLAN_FILE).write_text(kept)
        said = refreshed(server, log, 2)
        assert said["refused"] == [] and "highway-nano" in str(said["loaded"])
        assert_same(device.exchange(frame)[1].detections, merged)
    assert len(alone) != len(merged) or not np.allclose(alone.scores, merged.scores, atol=1e-3)


def test_a_daemon_does_not_start_with_a_plan_for_other_weights(plan, tmp_path):
    from cloud_server.__main__ import main

    assert main(["serve", "--bundle", str(COCO), "--plan", str(plan), "--listen", "127.0.0.1:0", "--no-tune"]) == 2
