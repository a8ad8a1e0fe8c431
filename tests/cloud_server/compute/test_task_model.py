"""Several bundles on one stream: what each finds is what it finds alone, and what they share is computed once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cloud_server.compute.bundle_model import BundleModel
from cloud_server.compute.planned import planned
from cloud_server.compute.task_model import TaskModel
from cloud_server.compute.tensor_store import TensorStore
from splitnet.bundle import load_device, load_server
from splitnet.codec.image_codec import compress_image
from splitnet.detections import Detections
from splitnet.errors import BitstreamError, BundleError
from splitnet.letterbox import Letterbox
from splitnet.manifest import load_manifest
from splitnet.messages import Frame
from splitnet.nn.yolox.architecture import YOLOXArchitecture
from splitnet.operating_point import Codec, Mode, OperatingPoint
from splitnet.sharing_plan import load_joints, load_plan
from tests.support.planned_pair import Pair, write_pair
from tests.support.tiny_bundle import INPUT_SIZE, write_tiny_bundle

CPU = torch.device("cpu")
JPEG, FEATURES = OperatingPoint(Codec.JPEG, 0, 80), OperatingPoint(Codec.RANS, 1, 1)


@pytest.fixture(autouse=True)
def _keep_every_box(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(YOLOXArchitecture.detections, "__defaults__", (0.0,))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return write_pair(tmp_path_factory.mktemp("pair"))


def models_of(pair: Pair, store: TensorStore | None = None) -> tuple[BundleModel, BundleModel]:
    """Return donor and recipient as a server with the plan has them."""
    digests = pair.donor_manifest.digest, pair.recipient_manifest.digest
    plan = planned(pair.plan, dict(zip(digests, (pair.donor, pair.recipient), strict=True)))
    donor = BundleModel(load_server(pair.donor), CPU, store=store)
    merged = plan.load(digests[1])
    recipient = BundleModel(merged, CPU, store=store, plan=plan.digest, merge=plan.merge_of(digests[1]))
    for model in (donor, recipient):
        model.prepare()
    return donor, recipient


def image_frame(photo: np.ndarray) -> Frame:
    height, width = photo.shape[:2]
    canvas = Letterbox.fit(width, height, INPUT_SIZE).apply(photo)
    return Frame(1, 0, JPEG, compress_image(canvas, JPEG.codec, JPEG.quality), width, height)


def features_frame(bundle: Path, photo: np.ndarray) -> Frame:
    device, (height, width) = load_device(bundle), photo.shape[:2]
    symbols = device.encoder.encode(Letterbox.fit(width, height, INPUT_SIZE).apply(photo), 1, 1)
    return Frame(1, 0, FEATURES, device.codec.compress(symbols, 1, 1, Codec.RANS), width, height)


def assert_same(found: Detections, expected: Detections) -> None:
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=1e-3)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


def test_both_find_in_an_image_what_each_finds_alone(pair, photo):
    donor, recipient = models_of(pair)
    together = TaskModel([donor, recipient])
    decoded = together.decode(image_frame(photo))
    ((first, second),) = together.infer(Mode.IMAGE, [decoded])
    (alone,) = donor.infer(Mode.IMAGE, [donor.decode(image_frame(photo))])
    (merged,) = recipient.infer(Mode.IMAGE, [recipient.decode(image_frame(photo))])
    assert_same(first, alone)
    assert_same(second, merged)


def test_the_order_of_the_session_is_that_of_the_answer(pair, photo):
    donor, recipient = models_of(pair)
    decoded = TaskModel([donor, recipient]).decode(image_frame(photo))
    ((first, second),) = TaskModel([donor, recipient]).infer(Mode.IMAGE, [decoded])
    ((second_again, first_again),) = TaskModel([recipient, donor]).infer(Mode.IMAGE, [decoded])
    assert_same(first_again, first)
    assert_same(second_again, second)


def test_a_shared_front_is_computed_once(pair, photo):
    donor, recipient = models_of(pair)
    calls: list[str] = []
    for name, detector in (("donor", donor.bundle.detector), ("recipient", recipient.bundle.detector)):
        assert detector is not None
        for layer in detector.modules():
            if type(layer).__name__ == "Focus":
                layer.register_forward_hook(lambda *_, name=name: calls.append(name))
    together = TaskModel([donor, recipient])
    together.infer(Mode.IMAGE, [together.decode(image_frame(photo))] * 3)
    assert calls == ["donor"]


def test_a_batch_of_several_frames_is_one_batch(pair, photo):
    donor, recipient = models_of(pair)
    together = TaskModel([donor, recipient])
    frames = [together.decode(image_frame(photo[:, :width])) for width in (640, 400)]
    both = together.infer(Mode.IMAGE, frames)
    for one, found in zip(frames, both, strict=True):
        (alone,) = together.infer(Mode.IMAGE, [one])
        assert [len(part) for part in found] == [len(part) for part in alone]


def test_features_of_the_donor_answer_the_recipient_too(pair, photo):
    donor, recipient = models_of(pair)
    together = TaskModel([donor, recipient])
    assert [one.takes_features for one in together.further] == [True]
    frame = features_frame(pair.donor, photo)
    ((first, second),) = together.infer(Mode.SPLIT, [together.decode(frame)])
    (alone,) = donor.infer(Mode.SPLIT, [donor.decode(frame)])
    assert_same(first, alone)
    half, merged = donor.bundle.half, recipient.bundle.detector
    assert merged is not None
    features = half.decoder(donor.input_of(Mode.SPLIT, [donor.decode(frame)]))
    (expected,) = recipient.read(
        merged.from_features({**features, **half.detector.trace(features)}), [donor.decode(frame)], fills=False
    )
    assert_same(second, expected)


def test_features_of_the_recipient_do_not_answer_the_donor(pair, photo):
    donor, recipient = models_of(pair)
    together = TaskModel([recipient, donor])
    assert [one.takes_features for one in together.further] == [False]
    with pytest.raises(BitstreamError, match="do not answer tiny-0 under this server's plan: send images"):
        together.decode(features_frame(pair.recipient, photo))


@pytest.mark.parametrize(("cut", "kind"), [("stem", "prefix"), ("dark3", "own"), ("dark4", "segment")])
def test_features_are_refused_where_the_plan_reads_what_lies_before_the_split(tmp_path, cut, kind):
    donor, recipient = models_of(write_pair(tmp_path, cut, kind=kind))
    assert not TaskModel([donor, recipient]).takes_features(recipient)


@pytest.mark.parametrize(("cut", "kind"), [("dark2", "own"), ("dark4", "segment"), ("p4", "prefix")])
def test_every_kind_of_merge_finds_together_what_it_finds_alone(tmp_path, photo, cut, kind):
    donor, recipient = models_of(write_pair(tmp_path, cut, kind=kind))
    together = TaskModel([donor, recipient])
    ((_, second),) = together.infer(Mode.IMAGE, [together.decode(image_frame(photo))])
    (merged,) = recipient.infer(Mode.IMAGE, [recipient.decode(image_frame(photo))])
    assert_same(second, merged)


def test_bundles_without_a_plan_are_answered_side_by_side(pair, photo):
    models = [BundleModel(load_server(folder), CPU) for folder in (pair.donor, pair.recipient)]
    together = TaskModel(models)
    ((first, second),) = together.infer(Mode.IMAGE, [together.decode(image_frame(photo))])
    for model, found in zip(models, (first, second), strict=True):
        (alone,) = model.infer(Mode.IMAGE, [model.decode(image_frame(photo))])
        assert_same(found, alone)


def test_a_recipient_adds_only_its_tail_and_its_joints_to_the_donors_memory(pair):
    store = TensorStore()
    donor, recipient = models_of(pair, store)
    held, alone = store.held_bytes, donor.memory_bytes
    half = sum(x.nbytes for x in recipient.bundle.half.state_dict().values())
    plan = load_plan(pair.plan)
    tail = [x for name, x in recipient.bundle.detector.state_dict().items() if name.startswith(("tail", "joints"))]
    assert plan.merges[0].spec.cut == "dark4"
    assert held <= alone + half + sum(x.nbytes for x in tail)


def test_a_plan_for_other_weights_is_refused_with_both_digests(pair, tmp_path):
    other = write_tiny_bundle(tmp_path / "recipient", seed=2)
    served = {pair.donor_manifest.digest: pair.donor, other.digest: tmp_path / "recipient"}
    with pytest.raises(
        BundleError, match=f"tiny-1 .{pair.recipient_manifest.digest[:12]}.*not served here.*make the plan"
    ):
        planned(pair.plan, served)


def test_a_plan_whose_bundle_was_trained_further_says_what_it_is_now(pair, tmp_path):
    manifest = load_manifest(pair.recipient)
    named = {load_manifest(pair.donor).digest: pair.donor, "ff" * 32: pair.recipient}
    with pytest.raises(BundleError, match=f"is for {manifest.name} .*, which is now ffffffffffff; make the plan anew"):
        planned(pair.plan, named)


def test_the_maps_of_a_plan_come_back_to_the_bit(pair):
    plan = load_plan(pair.plan)
    (joints,) = load_joints(pair.plan, plan).values()
    again = load_joints(pair.plan, plan)[pair.recipient_manifest.digest]
    assert all(torch.equal(a.conv.weight, b.conv.weight) for a, b in zip(joints, again, strict=True))
