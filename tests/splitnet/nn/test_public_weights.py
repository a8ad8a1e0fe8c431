"""The public YOLOX-nano through our code: same numbers as ONNX Runtime, same accuracy as published."""

from pathlib import Path

import numpy as np
import pytest
import torch

from splitnet.errors import BundleError
from splitnet.letterbox import Letterbox
from splitnet.manifest import Accuracy
from splitnet.nn.split_detector import image_input
from splitnet.nn.yolox.boxes import detections_from_raw
from splitnet.nn.yolox.network import YOLOX
from splitnet.nn.yolox.onnx_reader import read_onnx
from training.data.coco_file import class_names_of
from training.data.images import read_image
from training.evaluation.average_precision import LabelledSet
from training.evaluation.measure import unsplit_detections

CLASSES = 80


@pytest.fixture(scope="module")
def onnx_file(shared_data: Path) -> Path:
    return shared_data / "weights" / "yolox_nano.onnx"


@pytest.fixture(scope="module")
def nano(onnx_file: Path) -> YOLOX:
    return read_onnx(onnx_file, "yolox-nano", CLASSES)


def test_outputs_equal_those_of_onnx_runtime(nano: YOLOX, onnx_file: Path, shared_data: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(onnx_file), providers=["CPUExecutionProvider"])
    for path in sorted((shared_data / "coco" / "val2017").iterdir())[:6]:
        photo = read_image(path)
        assert photo is not None
        canvas = Letterbox.fit(photo.shape[1], photo.shape[0], 416).apply(photo)
        image = image_input(canvas, 416)[None]
        (reference,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        with torch.inference_mode():
            raw = nano(image)
            raw[..., 4:] = raw[..., 4:].sigmoid()
        assert np.abs(raw.numpy() - reference).max() < 1e-3


@pytest.mark.slow
def test_accuracy_is_the_reference_accuracy(nano: YOLOX, shared_data: Path) -> None:
    annotations = shared_data / "coco" / "val.json"
    labelled = LabelledSet(shared_data / "coco" / "val2017", annotations, class_names_of(annotations))
    found = [unsplit_detections(nano, image.path, 416) for image in labelled.images]
    accuracy = labelled.accuracy(found)
    assert accuracy.ap == pytest.approx(29.3, abs=0.2)
    assert accuracy.ap50 == pytest.approx(45.0, abs=0.5)


def test_perfect_detections_have_perfect_precision(shared_data: Path) -> None:
    """Feed the truth back in: catches boxes, classes or pictures that are mixed up on the way."""
    annotations = shared_data / "coco" / "val.json"
    labelled = LabelledSet(shared_data / "coco" / "val2017", annotations, class_names_of(annotations), limit=20)
    assert labelled.accuracy(labelled.truth()) == Accuracy(100.0, 100.0)


def test_pictures_without_detections_have_no_precision(nano: YOLOX, shared_data: Path) -> None:
    annotations = shared_data / "coco" / "val.json"
    labelled = LabelledSet(shared_data / "coco" / "val2017", annotations, class_names_of(annotations), limit=3)
    nothing = detections_from_raw(torch.full((3, 3549, 85), -20.0), 416)
    assert labelled.accuracy(nothing) == Accuracy(0.0, 0.0)


def test_another_detector_is_recognised_by_its_shapes(onnx_file: Path) -> None:
    with pytest.raises(BundleError, match="is it another detector"):
        read_onnx(onnx_file, "yolox-tiny", CLASSES)
    with pytest.raises(BundleError, match="is it another detector"):
        read_onnx(onnx_file, "yolox-nano", 7)


def test_a_file_that_is_not_onnx_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\x00\xffnot a model")
    with pytest.raises(BundleError, match="not a readable ONNX file"):
        read_onnx(path, "yolox-nano", CLASSES)
