"""A bundle that replicas compute: what is computed here all the same, and what is given up."""

from __future__ import annotations

import gc
import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cloud_server.cluster.cluster_model import ClusterModel
from cloud_server.cluster.messages import Deploy
from cloud_server.compute.bundle_model import BundleModel
from cloud_server.compute.decoded_frame import DecodedFrame
from splitnet.bundle import load_server
from splitnet.detections import Detections
from splitnet.errors import BundleError, ClusterError, ClusterTimeoutError, ShedError
from splitnet.manifest import DETECTOR_FILE, ENCODER_FILE, FILE_NAME, SERVER_FILE, load_manifest
from splitnet.operating_point import Mode
from tests.support.fake_model import one_object
from tests.support.tiny_bundle import write_tiny_bundle


class FakeLink:
    def __init__(self) -> None:
        self.deployed: list[Deploy] = []
        self.retired: list[str] = []
        self.fails: Exception | None = None
        self.calls = 0

    def deploy(self, bundle: Deploy, timeout_s: float) -> None:
        self.deployed.append(bundle)
        if self.fails:
            raise self.fails

    def retire(self, key: str) -> None:
        self.retired.append(key)

    def compute(self, key: str, mode: Mode, frames: Sequence[DecodedFrame]) -> list[Detections]:
        self.calls += 1
        if self.fails:
            raise self.fails
        return [one_object(9)] * len(frames)


def make(folder: Path, link: FakeLink, falls_back: bool = True) -> ClusterModel:
    own = BundleModel(load_server(folder), torch.device("cpu"))
    return ClusterModel(own, folder, link, falls_back)


def shown(model: ClusterModel) -> DecodedFrame:
    """Return a frame as a device sends it."""
    return replace(model.blank(Mode.SPLIT))


@pytest.fixture
def link() -> FakeLink:
    return FakeLink()


@pytest.fixture
def model(tiny_bundle: Path, link: FakeLink) -> ClusterModel:
    return make(tiny_bundle, link)


def test_replicas_get_the_files_that_a_server_needs_and_how_to_compute(model, link, tiny_bundle):
    model.deploy()
    (bundle,) = link.deployed
    assert set(bundle.files) >= {FILE_NAME, ENCODER_FILE, SERVER_FILE, DETECTOR_FILE}
    assert bundle.files[FILE_NAME] == (tiny_bundle / FILE_NAME).read_bytes()
    assert bundle.tuning["onnxruntime"] is False
    assert bundle.memory_bytes > 3 * model.memory_bytes


def test_bundles_of_one_name_that_differ_have_replicas_of_their_own(tiny_bundle, link, tmp_path):
    write_tiny_bundle(tmp_path, seed=5)
    replace(load_manifest(tmp_path), name="tiny-0").write(tmp_path)
    one, other = make(tiny_bundle, link), make(tmp_path, link)
    assert one.name == other.name and one.key != other.key


def test_replicas_compute(model, link):
    model.prepare()
    found = model.infer(Mode.SPLIT, [shown(model)] * 2)
    assert [one.labels.tolist() for one in found] == [[9], [9]]


def test_what_fails_at_once_is_computed_here(model, link):
    model.prepare()
    link.fails = ClusterError("the cluster does not answer")
    blank = shown(model)
    found = model.infer(Mode.SPLIT, [blank])
    assert [one.labels.tolist() for one in found] == [
        one.labels.tolist() for one in model._own.infer(Mode.SPLIT, [blank])
    ]


def test_what_was_waited_for_in_vain_is_late_and_not_computed(model, link):
    model.prepare()
    link.fails = ClusterTimeoutError("nobody")
    with pytest.raises(ShedError, match="lost with the replica that had it: nobody"):
        model.infer(Mode.SPLIT, [shown(model)])


def test_without_a_fall_back_frames_are_refused(tiny_bundle, link):
    model = make(tiny_bundle, link, falls_back=False)
    model.prepare()
    link.fails = ClusterError("no replica of the bundle is there")
    with pytest.raises(ShedError, match="nobody can compute the frame: no replica"):
        model.infer(Mode.SPLIT, [shown(model)])


@pytest.mark.parametrize(("falls_back", "says"), [(True, "computing here"), (False, "refusing frames")])
def test_a_daemon_starts_without_replicas_and_says_what_it_does(tiny_bundle, link, caplog, falls_back, says):
    link.fails = ClusterError("MemoryError: 3 GB")
    make(tiny_bundle, link, falls_back).deploy()
    (record,) = caplog.records
    assert says in record.message and record.reason == "MemoryError: 3 GB"


def test_lanes_compute_here_one_at_a_time(model, link):
    model.prepare()
    link.fails = ClusterError("gone")
    inside, most = [], []

    def infer(mode, batch):
        inside.append(batch)
        most.append(len(inside))
        inside.pop()
        return [one_object(1)]

    model._own.infer = infer
    threads = [threading.Thread(target=model.infer, args=(Mode.SPLIT, [shown(model)])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4


def test_replicas_retire_with_the_last_session_of_a_bundle(model, link, request, tiny_bundle):
    key = model.key
    other = make(tiny_bundle, link)
    assert other.key == key
    del other
    gc.collect()
    assert link.retired == [key]


def test_a_bundle_that_vanishes_while_it_is_loaded_is_refused(tiny_bundle, link, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    own = BundleModel(load_server(folder), torch.device("cpu"))
    (folder / SERVER_FILE).unlink()
    with pytest.raises(BundleError, match="cannot be read again, for the cluster"):
        ClusterModel(own, folder, link, True)
