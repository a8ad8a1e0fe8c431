"""The device's own detector: what it finds, and how its thread is fed."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from cloud_server.compute.bundle_model import BundleModel
from cloud_server.compute.decoded_frame import DecodedFrame
from edge_client.encoding import local_detector
from edge_client.encoding.backends import AUTO, ONNXRUNTIME, TORCH
from edge_client.encoding.local_detector import LocalRuntime, LocalThread, load_local, memory_needed
from edge_client.frames import EncodedFrame
from edge_client.threads import LEAST_PRIORITY, LOW_PRIORITY, in_thread
from splitnet.bundle import add_local_detector, load_server
from splitnet.detections import Detections
from splitnet.errors import ConfigError, DigestMismatchError
from splitnet.letterbox import Letterbox
from splitnet.manifest import DETECTOR_FILE, LOCAL_FILE, FileEntry, LocalDetector, load_manifest
from splitnet.nn.efficientdet.anchors import anchor_boxes
from splitnet.nn.efficientdet.architecture import EfficientDetArchitecture
from splitnet.nn.yolox.architecture import YOLOXArchitecture
from splitnet.nn.yolox.network import YOLOX
from splitnet.operating_point import LOCAL, Codec, Mode, OperatingPoint
from tests.support.client_samples import chosen_frame


class FakeRuntime:
    """Looks at frames only while its gate is open, and remembers who looked."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.niceness: list[int] = []

    def detect(self, image):
        self.entered.set()
        assert self.gate.wait(10)
        self.niceness.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return EncodedFrame(LOCAL, b"", 0.1, 0.2, 0.0), Detections.empty()


@pytest.fixture
def runtime():
    return FakeRuntime()


@pytest.fixture
def seen():
    return {"detected": [], "overtaken": []}


@pytest.fixture
def thread(runtime, seen):
    def detected(chosen, found):
        seen["detected"].append(chosen.frame.frame_id)
        fed.release()

    fed = LocalThread(runtime, detected, lambda chosen: seen["overtaken"].append(chosen.frame.frame_id))
    return fed


async def test_one_frame_at_a_time_and_of_those_that_wait_the_newest(thread, runtime, seen):
    running = in_thread(thread.run, "test")
    thread.submit(chosen_frame(1, LOCAL), wait=False)
    await asyncio.to_thread(runtime.entered.wait, 10)
    for frame_id in (2, 3, 4):
        thread.submit(chosen_frame(frame_id, LOCAL), wait=False)
    assert thread.pending == 2
    runtime.gate.set()
    thread.finish()
    await running
    assert seen == {"detected": [1, 4], "overtaken": [2, 3]}
    assert thread.pending == 0


async def test_closing_drops_the_frame_that_waits(thread, runtime, seen):
    running = in_thread(thread.run, "test")
    thread.submit(chosen_frame(1, LOCAL), wait=False)
    await asyncio.to_thread(runtime.entered.wait, 10)
    thread.submit(chosen_frame(2, LOCAL), wait=False)
    thread.close()
    thread.submit(chosen_frame(3, LOCAL), wait=False)
    runtime.gate.set()
    await running
    assert seen == {"detected": [1], "overtaken": [2, 3]}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a thread a priority of its own")
async def test_it_yields_to_other_threads(thread, runtime):
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    runtime.gate.set()
    running = in_thread(thread.run, "test")
    thread.submit(chosen_frame(1, LOCAL), wait=False)
    thread.finish()
    await running
    assert runtime.niceness == [min(before + LOW_PRIORITY, LEAST_PRIORITY)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


def test_the_steps_add_up(tiny_bundle, photo):
    manifest = load_manifest(tiny_bundle)
    ticks = count()  # the clock is read at the borders of two steps, a millisecond apart
    runtime = LocalRuntime(
        lambda canvas: torch.full((84, 85), -20.0),
        YOLOXArchitecture(),
        manifest.input_size,
        clock=lambda: next(ticks) / 1000,
    )
    encoded, _ = runtime.detect(photo)
    assert (encoded.point, encoded.payload) == (LOCAL, b"")
    assert (encoded.letterbox_ms, encoded.network_ms, encoded.entropy_ms) == pytest.approx((1.0, 1.0, 0.0))


def in_order(boxes):
    """Return boxes from left to right and from top to bottom: equal scores have no order of their own."""
    return boxes[np.lexsort(boxes.round(1).T[::-1])]


def test_it_finds_what_the_server_finds_in_the_same_picture(tiny_bundle, photo, monkeypatch):
    # Random weights are never sure of anything.
    monkeypatch.setattr(YOLOXArchitecture.detections, "__defaults__", (0.01,))
    manifest = load_manifest(tiny_bundle)
    local = load_local(tiny_bundle, manifest, "cpu")
    assert local is not None
    _, found = local.detect(photo)
    server = BundleModel(load_server(tiny_bundle), torch.device("cpu"))
    letterbox = Letterbox.fit(640, 480, manifest.input_size)
    sent = DecodedFrame(letterbox.apply(photo), OperatingPoint(Codec.JPEG, 0, 100), letterbox)
    (expected,) = server.infer(Mode.IMAGE, [sent])
    assert len(found) == len(expected) > 0
    assert in_order(found.boxes) == pytest.approx(in_order(expected.boxes), abs=0.01)
    assert found.scores == pytest.approx(expected.scores, abs=1e-4)


@pytest.mark.parametrize(("size", "canvas"), [((640, 480), (64, 64)), ((640, 320), (32, 64)), ((100, 300), (64, 32))])
def test_it_sees_the_canvas_and_not_the_square(size, canvas):
    seen = []

    def network(image):
        seen.append(image.shape[:2])
        anchors = sum(image.shape[0] * image.shape[1] // stride**2 for stride in (8, 16, 32))
        return torch.full((anchors, 85), -20.0)

    LocalRuntime(network, YOLOXArchitecture(), 64).detect(np.zeros((size[1], size[0], 3), np.uint8))
    assert seen == [canvas]


def test_a_square_that_the_coarsest_level_does_not_divide_is_seen_whole():
    seen = []

    def network(image):
        seen.append(image.shape[:2])
        return torch.full((len(anchor_boxes(96, torch.device("cpu"))), 84), -20.0)

    LocalRuntime(network, EfficientDetArchitecture(), 96).detect(np.zeros((50, 100, 3), np.uint8))
    assert seen == [(96, 96)]


def test_onnx_runtime_finds_what_pytorch_finds(tiny_bundle, photo, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(YOLOXArchitecture.detections, "__defaults__", (0.01,))
    manifest, wide = load_manifest(tiny_bundle), photo[:320]
    runtimes = [load_local(tiny_bundle, manifest, "cpu", 1, backend) for backend in (TORCH, ONNXRUNTIME)]
    (_, expected), (_, found) = (runtime.detect(wide) for runtime in runtimes)
    assert [runtime.backend for runtime in runtimes] == [TORCH, ONNXRUNTIME]
    assert len(found) == len(expected) > 0
    assert in_order(found.boxes) == pytest.approx(in_order(expected.boxes), abs=0.01)
    assert found.scores == pytest.approx(expected.scores, abs=1e-4)


def test_pytorch_runs_it_where_onnx_runtime_is_missing(tiny_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    manifest = load_manifest(tiny_bundle)
    assert load_local(tiny_bundle, manifest, "cpu", backend=AUTO).backend == TORCH
    with pytest.raises(ConfigError, match=r"pip install slimsplit\[onnxruntime\]"):
        load_local(tiny_bundle, manifest, "cpu", backend=ONNXRUNTIME)


def test_a_device_without_the_weights_has_no_detector(tiny_bundle, tmp_path):
    for name in ("manifest.json", "encoder.safetensors"):
        (tmp_path / name).write_bytes((tiny_bundle / name).read_bytes())
    assert load_local(tmp_path, load_manifest(tmp_path), "cpu") is None


def test_damaged_weights_are_refused(tiny_bundle, tmp_path):
    for path in tiny_bundle.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    data = bytearray((tmp_path / DETECTOR_FILE).read_bytes())
    data[-1] ^= 1
    (tmp_path / DETECTOR_FILE).write_bytes(data)
    with pytest.raises(DigestMismatchError, match="copy the bundle again"):
        load_local(tmp_path, load_manifest(tmp_path), "cpu")


@pytest.fixture
def with_own(tiny_bundle, tmp_path):
    """Return a bundle whose device runs another network alone, at another size, than the server."""
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "own"))
    torch.manual_seed(3)
    names = load_manifest(folder).class_names
    known = LocalDetector("yolox-nano", 96, names, FileEntry("", 0))
    add_local_detector(folder, YOLOX("yolox-nano", len(names)), known)
    return folder


def test_a_local_detector_of_its_own_runs_at_its_own_size(with_own, monkeypatch):
    sizes = []
    monkeypatch.setattr(
        YOLOXArchitecture, "detections", lambda self, raw, size, *_: sizes.append(size) or [Detections.empty()]
    )
    manifest = load_manifest(with_own)
    runtime = load_local(with_own, manifest, "cpu")
    runtime.detect(np.zeros((50, 100, 3), np.uint8))
    assert sizes == [(96, 96), (64, 96)]  # the warm-up's square, then the canvas
    assert (runtime.name, runtime.digest) == ("yolox-nano", manifest.local.file.sha256)


def test_the_unsplit_detector_is_covered_by_the_bundles_digest(tiny_bundle):
    assert load_local(tiny_bundle, load_manifest(tiny_bundle), "cpu").digest is None


def test_a_device_with_the_servers_detector_only_does_not_run_that_one_alone(with_own):
    (with_own / LOCAL_FILE).unlink()
    assert load_local(with_own, load_manifest(with_own), "cpu") is None


def test_a_device_without_memory_runs_without_it_and_says_so(tiny_bundle, monkeypatch, caplog):
    manifest = load_manifest(tiny_bundle)
    needed = memory_needed(manifest.local_detector)
    monkeypatch.setattr(local_detector, "free_memory", lambda: needed - 1)
    assert load_local(tiny_bundle, manifest, "cpu") is None
    megabytes = f"{needed / 1e6:.0f} MB"
    expected = f"runs without the local detector yolox-nano: it needs {megabytes} of memory, {megabytes} are free"
    assert caplog.messages == [expected]
    monkeypatch.setattr(local_detector, "free_memory", lambda: needed)
    assert load_local(tiny_bundle, manifest, "cpu") is not None


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")]
)
def test_memory_that_is_gone_after_all_is_the_same(tiny_bundle, monkeypatch, caplog, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("splitnet.bundle.load_local_detector", fail)
    assert load_local(tiny_bundle, load_manifest(tiny_bundle), "cpu") is None
    assert caplog.messages == ["runs without the local detector yolox-nano: there is no memory for it"]


def test_any_other_failure_is_not_hidden(tiny_bundle, monkeypatch):
    def fail(*_):
        raise RuntimeError("an operator is missing")

    monkeypatch.setattr("splitnet.bundle.load_local_detector", fail)
    with pytest.raises(RuntimeError, match="operator"):
        load_local(tiny_bundle, load_manifest(tiny_bundle), "cpu")
