"""A plan in a registry of real bundles: a donor that goes leaves recipients whole, and open sessions as they are."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cloud_server.compute.bundle_model import BundleModel
from cloud_server.compute.decoded_frame import DecodedFrame
from cloud_server.compute.tensor_store import TensorStore
from cloud_server.config import ServeConfig
from cloud_server.engine import Engine
from cloud_server.registry import Registry
from cloud_server.sharing import BundleSharing
from cloud_server.tunings import Tunings
from splitnet.bundle import load_server
from splitnet.codec.image_codec import compress_image
from splitnet.detections import Detections
from splitnet.errors import BundleMismatchError
from splitnet.messages import Frame
from splitnet.operating_point import Codec, Mode, OperatingPoint
from tests.support.planned_pair import Pair, write_pair

CPU = torch.device("cpu")
JPEG = OperatingPoint(Codec.JPEG, 0, 80)


@pytest.fixture
def engine() -> Iterator[Engine[DecodedFrame]]:
    engine: Engine[DecodedFrame] = Engine(1, 4)
    engine.start(lambda *_: None)
    yield engine
    engine.stop()


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return write_pair(tmp_path)


def found_in(model: BundleModel, photo: np.ndarray) -> Detections:
    height, width = photo.shape[:2]
    frame = Frame(1, 0, JPEG, compress_image(photo, JPEG.codec, JPEG.quality), width, height, whole_image=True)
    return model.infer(Mode.IMAGE, [model.decode(frame)], score_threshold=0.0)[0]


def test_a_donor_that_is_retired_leaves_open_sessions_what_they_have_and_new_ones_the_whole_recipient(
    engine, pair, photo
):
    store, tunings = TensorStore(), Tunings(ServeConfig(no_tune=True), CPU)
    sharing = BundleSharing(pair.plan, CPU, tunings, store)

    def load(folder: Path) -> BundleModel:
        return BundleModel(load_server(folder), CPU, store=store)

    registry = Registry(engine, [pair.donor, pair.recipient], load, lambda: store.held_bytes, sharing)
    donor, recipient = pair.donor_manifest, pair.recipient_manifest
    registry.refresh()
    merged, together = registry.find(recipient.digest), registry.find_all(donor.digest, [recipient.digest])[0]
    before = found_in(merged, photo)
    assert merged.plan

    shutil.rmtree(pair.donor)
    changes = registry.refresh()

    assert [name.partition(" ")[0] for name in changes.retired] == ["tiny-0", "tiny-1"], "as the plan had it"
    assert [name.partition(" ")[0] for name in changes.loaded] == ["tiny-1"]
    assert "not served here" in changes.refused[0]
    with pytest.raises(BundleMismatchError):
        registry.find(donor.digest)
    for old, now in zip(vars(before).values(), vars(found_in(merged, photo)).values(), strict=True):
        np.testing.assert_array_equal(now, old)
    whole = registry.find(recipient.digest)
    assert whole is not merged and not whole.plan
    alone = BundleModel(load_server(pair.recipient), CPU)
    alone.prepare()
    np.testing.assert_allclose(found_in(whole, photo).scores, found_in(alone, photo).scores, atol=1e-5)

    held = store.held_bytes
    del merged, together
    gc.collect()
    assert store.held_bytes < held, "the donor's weights are free when the last session has ended"
