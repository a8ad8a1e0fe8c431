"""The limits of a bundle, shown: scenes whose objects become ever smaller and ever more, and what is found.

A scene of n x n images has each of their objects at an n-th of its size, in a crowd. What should be found is what
the unsplit detector finds in each image alone. So the figures tell what smallness and the split take away, not how
good the detector is. The images are those that scikit-image ships.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.images import Image, filling, sample_images
from splitnet.bundle import load_device, load_server
from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.letterbox import Letterbox
from splitnet.nn.architectures import architecture_of
from splitnet.nn.split_detector import image_input
from splitnet.settings import DEFAULT_BUNDLE

SCENE_SIZE = 640, 480
SIDES = (2, 3, 4, 6)  # images a side of the scene
SHOWN_SIDES = (2, 4)
PANEL_SIZE = 400, 300
MAX_FILE_BYTES = 60_000
CERTAIN, SEEN = 0.5, 0.3  # scores: of what should be found, and of what counts as found
SAME_OVERLAP = 0.5
FOUND, MISSED = (80, 175, 0), (58, 16, 208)  # BGR
UNSPLIT = "unsplit"

Finder = Callable[[Image], Detections]
Boxes = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scene:
    """An image and what should be found in it."""

    image: Image
    boxes: Boxes  # (n, 4) xyxy
    labels: NDArray[np.int32]  # (n,)


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")


@torch.inference_mode()
def run(options: Namespace) -> dict[str, object]:
    """Return how many objects each way finds at each size; draw some scenes beside --out: FILE-2.jpg, FILE-4.jpg."""
    finders = _finders(options.bundle)
    singles = [_single(image, finders[UNSPLIT]) for image in sample_images().values()]
    scenes = {side: mosaic(singles, side) for side in SIDES}
    gone = {
        (side, way): missed(scene, find(scene.image)) for side, scene in scenes.items() for way, find in finders.items()
    }
    if options.out is not None:
        for side in SHOWN_SIDES:
            panels = [drawn(scenes[side], gone[side, way], way) for way in finders]
            options.out.with_name(f"{options.out.stem}-{side}.jpg").write_bytes(compressed(np.hstack(panels)))
    rows = [_row(side, scene, {way: gone[side, way] for way in finders}) for side, scene in scenes.items()]
    return {
        "bundle": load_device(options.bundle).manifest.name,
        "ways": list(finders),
        "shown": list(SHOWN_SIDES),
        "scenes": rows,
    }


BENCHMARK = Benchmark("failures", "what becomes of small and crowded objects, with images", _add_arguments, run)


def _row(side: int, scene: Scene, gone: Mapping[str, NDArray[np.bool_]]) -> dict[str, object]:
    found = {way: int((~lost).sum()) for way, lost in gone.items()}
    return {"photographs_a_side": side, "objects": len(scene.labels), **found}


def _finders(folder: Path) -> dict[str, Finder]:
    """Return the unsplit detector, the bundle at its best and at its cheapest, by name."""
    device, server = load_device(folder), load_server(folder)
    size, detector = device.manifest.input_size, server.detector
    architecture = architecture_of(device.manifest.detector)
    if detector is None:
        raise ConfigError(f"{folder} has no whole detector to say what should be found")

    def unsplit(image: Image) -> Detections:
        box = Letterbox.fit(image.shape[1], image.shape[0], size)
        return _finished(
            detector(image_input(box.apply(image), size, architecture.fills)[None]), box, architecture.fills
        )

    def split(width: int, quality: int) -> Finder:
        def find(image: Image) -> Detections:
            box = device.manifest.fit(image.shape[1], image.shape[0], width)
            payload = device.codec.compress(device.encoder.encode(box.apply(image), width, quality), width, quality)
            _, symbols = server.codec.decompress(payload)
            raw = server.half(server.half.dequantise(symbols, width, quality)[None])
            return _finished(raw, box, fills=False)

        return find

    def _finished(raw: torch.Tensor, box: Letterbox, fills: bool) -> Detections:
        (found,) = architecture.detections(raw, size, SEEN)
        boxes = box.boxes_to_frame(found.boxes, size if fills else None)
        return Detections(boxes, found.scores, found.labels)

    best = device.manifest.widths, device.manifest.qualities - 1
    return {UNSPLIT: unsplit, f"w{best[0]} q{best[1]}": split(*best), "w1 q0": split(1, 0)}


def _single(image: Image, find: Finder) -> Scene:
    """Return an image cut to a scene's shape, with what is surely in it."""
    scene = filling(image, SCENE_SIZE)
    found = find(scene)
    sure = found.scores >= CERTAIN
    return Scene(scene, found.boxes[sure], found.labels[sure])


def mosaic(singles: Sequence[Scene], side: int) -> Scene:
    """Return side x side scenes in one of the same size, taken in turn, and all their objects where they are then."""
    height, width = singles[0].image.shape[:2]
    cell = width // side, height // side
    image = np.zeros((cell[1] * side, cell[0] * side, 3), np.uint8)
    boxes, labels = [], []
    for number in range(side * side):
        single = singles[number % len(singles)]
        left, top = cell[0] * (number % side), cell[1] * (number // side)
        small = cv2.resize(single.image, cell, interpolation=cv2.INTER_AREA)
        image[top : top + cell[1], left : left + cell[0]] = small
        scale = np.array([cell[0] / width, cell[1] / height] * 2, np.float32)
        boxes.append(single.boxes * scale + np.array([left, top, left, top], np.float32))
        labels.append(single.labels)
    return Scene(image, np.concatenate(boxes), np.concatenate(labels))


def missed(scene: Scene, found: Detections) -> NDArray[np.bool_]:
    """Return which objects of a scene have no detection of their class that overlaps them by half, each used once."""
    free = np.ones(len(found), np.bool_)
    gone = np.ones(len(scene.labels), np.bool_)
    overlaps = _overlaps(scene.boxes, found.boxes) * (scene.labels[:, None] == found.labels)
    for flat in np.argsort(-overlaps, axis=None, kind="stable"):
        i, j = divmod(int(flat), max(1, len(found)))
        if overlaps[i, j] < SAME_OVERLAP:
            break
        if gone[i] and free[j]:
            gone[i] = free[j] = False
    return gone


def _overlaps(a: Boxes, b: Boxes) -> NDArray[np.float32]:
    """Return the intersection over union of boxes (n, 4) and (m, 4) as (n, m)."""
    top_left = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(bottom_right - top_left, 0, None), axis=2)
    areas = [np.prod(np.clip(one[:, 2:] - one[:, :2], 0, None), axis=1) for one in (a, b)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.asarray(shared / np.maximum(union, 1e-6), np.float32)


def drawn(scene: Scene, gone: NDArray[np.bool_], way: str) -> Image:
    """Return a panel of a scene: objects that were found in green, missed ones in red, and who looked."""
    panel = np.asarray(cv2.resize(scene.image, PANEL_SIZE, interpolation=cv2.INTER_AREA), np.uint8)
    scale = np.array([PANEL_SIZE[0] / scene.image.shape[1], PANEL_SIZE[1] / scene.image.shape[0]] * 2)
    for box, lost in zip(scene.boxes * scale, gone, strict=True):
        left, top, right, bottom = (round(float(side)) for side in box)
        cv2.rectangle(panel, (left, top), (right, bottom), MISSED if lost else FOUND, 2)
    words = f"{way}: {int((~gone).sum())} of {len(gone)}"
    cv2.rectangle(panel, (0, PANEL_SIZE[1] - 22), (11 * len(words), PANEL_SIZE[1]), (40, 40, 40), cv2.FILLED)
    place = 6, PANEL_SIZE[1] - 6
    cv2.putText(panel, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return panel


def compressed(image: Image) -> bytes:
    """Return an image as the best JPEG file of at most MAX_FILE_BYTES."""
    for quality in range(85, 4, -5):
        data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1))[1]
        if len(data) <= MAX_FILE_BYTES:
            break
    return data.tobytes()
