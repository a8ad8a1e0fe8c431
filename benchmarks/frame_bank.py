"""Make the frame bank of a bundle: every labelled picture through every operating point, once, and keep it."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.effective_accuracy import FrameBank, assemble, load_bank
from splitnet.bundle import DeviceBundle, ServerBundle, load_device, load_server
from splitnet.codec.image_codec import compress_image, decompress_image
from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.letterbox import Letterbox
from splitnet.nn.boxes import detections_from_raw
from splitnet.nn.split_detector import image_input
from splitnet.operating_point import LOCAL, Mode, OperatingPoint
from training.average_precision import LabelledSet, class_names_of

FOLDER = Path(__file__).resolve().parent.parent / "runs"  # not in the repository
SCORE_THRESHOLD = 0.01  # as average precision is usually taken


def frame_bank(bundle: Path, images: Path, annotations: Path, limit: int | None = None) -> FrameBank:
    """Return the bank of a bundle and labelled pictures; made on the first call, read from runs/ afterwards.

    Raises ConfigError if pictures and annotations do not fit together, BundleError if the bundle is damaged.
    """
    device = load_device(bundle)
    manifest = device.manifest
    points = tuple(OperatingPoint(p.codec, p.width, p.quality) for p in manifest.points)
    if not points:
        raise ConfigError(f"bundle {manifest.name} has no measured points: run `python -m training evaluate` on it")
    content = f"{manifest.digest} {annotations.resolve()} {limit} {' '.join(map(str, points))}"
    path = FOLDER / f"frame-bank-{hashlib.sha256(content.encode()).hexdigest()[:16]}.npz"
    if path.exists():
        return load_bank(path)
    labelled = LabelledSet(images, annotations, class_names_of(annotations), limit)
    bank = make_bank(device, load_server(bundle), labelled, annotations, points)
    bank.save(path)
    return bank


def make_bank(
    device: DeviceBundle,
    server: ServerBundle,
    labelled: LabelledSet,
    annotations: Path,
    points: Sequence[OperatingPoint],
) -> FrameBank:
    """Return the bank of these points and, if the bundle has the detector, of LOCAL."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    without_pictures = [point for point in points if point.mode is Mode.SPLIT]
    points = without_pictures if server.detector is None else [*points, LOCAL]
    device.codec.warm_up()
    found: list[list[Detections]] = [[] for _ in points]
    payload = np.zeros((len(labelled.images), len(points)), np.int64)
    for row, picture in enumerate(labelled.images):
        frame = cv2.imread(str(picture.path), cv2.IMREAD_COLOR)
        if frame is None:
            raise ConfigError(f"{picture.path} is not a readable picture")
        box = Letterbox.fit(frame.shape[1], frame.shape[0], device.manifest.input_size)
        canvas = box.apply(np.asarray(frame, np.uint8))
        for column, point in enumerate(points):
            data = _compress(device, canvas, point)
            payload[row, column] = len(data)
            found[column].append(_detect(server, canvas, data, point, box))
    truth = _Truth(annotations, [image.image_id for image in labelled.images], device.manifest.class_names)
    return assemble(points, payload, [truth.matched(one) for one in found], truth.classes)


def _compress(device: DeviceBundle, canvas: NDArray[np.uint8], point: OperatingPoint) -> bytes:
    if point == LOCAL:
        return b""
    if point.mode is Mode.IMAGE:
        return compress_image(canvas, point.codec, point.quality)
    symbols = device.encoder.encode(canvas, point.width, point.quality)
    return device.codec.compress(symbols, point.width, point.quality, point.codec)


@torch.inference_mode()
def _detect(
    server: ServerBundle, canvas: NDArray[np.uint8], data: bytes, point: OperatingPoint, box: Letterbox
) -> Detections:
    """Return what is found at a point, in pixels of the frame."""
    size = server.manifest.input_size
    if point.mode is Mode.SPLIT:
        header, symbols = server.codec.decompress(data)
        raw = server.half(server.half.dequantise(symbols, header.width, header.quality)[None])
    else:
        assert server.detector is not None
        picture = canvas if point == LOCAL else decompress_image(data, point.codec, size, size)
        raw = server.detector(image_input(picture, size)[None])
    (found,) = detections_from_raw(raw, size, SCORE_THRESHOLD)
    return Detections(box.boxes_to_frame(found.boxes), found.scores, found.labels)


class _Truth:
    """The boxes to be found, and pycocotools to match detections with them."""

    def __init__(self, annotations: Path, image_ids: Sequence[int], class_names: Sequence[str]) -> None:
        from pycocotools.coco import COCO

        with contextlib.redirect_stdout(io.StringIO()):
            self._coco: Any = COCO(str(annotations))
        self._image_ids = list(image_ids)
        by_name = {c["name"]: int(c["id"]) for c in self._coco.dataset["categories"]}
        self._categories = [by_name.get(name, -1) for name in class_names]
        self.classes = len(self._coco.getCatIds())

    def matched(self, found: Sequence[Detections]) -> list[Any]:
        """Return `COCOeval.evalImgs`, of boxes of all sizes, for the detections of each picture."""
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        rows = [
            {"image_id": image_id, "category_id": self._categories[label], "score": score,
             "bbox": [left, top, right - left, bottom - top]}
            for image_id, one in zip(self._image_ids, found, strict=True)
            for (left, top, right, bottom), score, label in zip(
                one.boxes.tolist(), one.scores.tolist(), one.labels.tolist(), strict=True
            )
        ]  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation: Any = COCOeval(self._coco, self._coco.loadRes(rows) if rows else COCO(), "bbox")
            evaluation.params.imgIds = self._image_ids
            evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
            evaluation.evaluate()
        return list(evaluation.evalImgs)
