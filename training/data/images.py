"""Images for training: found in folders, decoded by threads, cut into augmented crops."""

from __future__ import annotations

import contextlib
import logging
import queue
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitnet import image_file
from splitnet.errors import ConfigError, ImageFileError
from splitnet.letterbox import LATENT_STRIDE, PADDING_VALUE
from training.data.coco_file import read_json
from training.data.folders import files_below, is_image, is_other_image

COCO_NAME = re.compile(r"(?:COCO_\w+_)?(\d{12})")  # 2014 and 2017, without the suffix
MIN_SIDE = 64  # pixels; smaller images teach nothing
# Upright or not, and the short side's share of the long one: squares, 4:3 twice as often, portraits.
CANVASES = ((False, 1.0), (False, 0.75), (False, 0.75), (True, 0.75))
MAX_MISSES = 200  # images of no use, one after the other: then none is
log = logging.getLogger(__name__)

Image = NDArray[np.uint8]


def find_images(folders: Sequence[Path], exclude: Sequence[Path] = ()) -> list[Path]:
    """Return the images below the folders, linked ones too, without those that evaluation annotations name.

    exclude: COCO annotation files. An image is dropped if its file name is that of an excluded one, whatever its folder
    and suffix; one of COCO's also if it has the number of an excluded one of COCO's, since val2017 lies inside val2014.
    ConfigError if a folder is not there or nothing is left.
    """
    absent = [folder for folder in folders if not folder.is_dir()]
    if absent:
        raise ConfigError(f"{absent[0]} is not a folder of images")
    banned = {key for path in exclude for stem in _excluded_stems(path) for key in _keys(stem)}
    files = [path for folder in folders for path in files_below(folder)]
    found = [path for path in files if is_image(path)]
    kept = [path for path in found if banned.isdisjoint(_keys(path.stem))]
    if not kept:
        names = ", ".join(map(str, folders)) or "no folder at all"
        raise ConfigError(f"no images in {names} ({len(found)} excluded as evaluation images)")
    log.info("%d images, %d excluded", len(kept), len(found) - len(kept))
    others = Counter(path.suffix.lower() for path in files if is_other_image(path))
    for suffix, count in others.items():
        log.warning("%d images are of a kind that is not read (%s)", count, suffix)
    return kept


def _excluded_stems(annotations: Path) -> Iterator[str]:
    for image in read_json(annotations, ["images"])["images"]:
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str):
            raise ConfigError(f"{annotations} is not a COCO annotation file: an image has no file name")
        yield PurePosixPath(image["file_name"].replace("\\", "/")).stem


def _keys(stem: str) -> set[str | int]:
    """Return what an image is known by: its name, and of COCO's images their number."""
    number = COCO_NAME.fullmatch(stem)
    return {stem, int(number[1])} if number else {stem}


def read_image(path: Path) -> Image | None:
    """Return an image as BGR (H, W, 3) uint8, or None if it is unreadable."""
    try:
        return image_file.read_image(path)
    except ImageFileError:
        return None


@dataclass(frozen=True)
class CropSpec:
    """How crops are cut."""

    square: int = 320  # side of the training square, pixels, a multiple of 32
    input_size: int = 416  # the detector's: an image that just fits it has scale 1
    min_scale: float = 0.6
    max_scale: float = 1.5
    max_enlargement: float = 1.25  # of an image's own pixels: small ones are not blown up

    def __post_init__(self) -> None:
        """Raise ConfigError on sizes that no crop can have."""
        check_square(self.square)
        if not 0 < self.min_scale <= self.max_scale or self.max_enlargement <= 0:
            raise ConfigError("the scales of crops must be positive, the smallest first")


def check_square(square: int) -> None:
    """Raise ConfigError unless a training square of this side, in pixels, fits every stage of a detector."""
    if square < 32 or square % 32:
        raise ConfigError(f"the training square has a side of {square}, must be a multiple of 32")


def crop(image: Image, spec: CropSpec, canvas: tuple[int, int], rng: np.random.Generator) -> Image:
    """Cut one augmented crop of `canvas` (height, width) out of a BGR image; grey where it does not reach."""
    height, width = image.shape[:2]
    fit = spec.input_size / max(height, width)
    drawn = fit * np.exp(rng.uniform(np.log(spec.min_scale), np.log(spec.max_scale)))
    scale = min(drawn, spec.max_enlargement)
    stretch = np.exp(rng.uniform(-0.1, 0.1))
    size = max(8, round(width * scale * stretch)), max(8, round(height * scale / stretch))
    interpolation = cv2.INTER_AREA if rng.random() < 0.3 and scale < 1 else cv2.INTER_LINEAR
    resized = np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)
    if rng.random() < 0.5:
        resized = resized[:, ::-1]
    if rng.random() < 0.5:
        resized = _jitter(resized, rng)
    out = np.full((*canvas, 3), PADDING_VALUE, np.uint8)
    y = int(rng.integers(0, max(1, resized.shape[0] - canvas[0] + 1)))
    x = int(rng.integers(0, max(1, resized.shape[1] - canvas[1] + 1)))
    part = resized[y : y + canvas[0], x : x + canvas[1]]
    out[: part.shape[0], : part.shape[1]] = part
    return out


def _jitter(image: Image, rng: np.random.Generator) -> Image:
    """Change contrast, brightness and white balance."""
    gain = rng.uniform(0.7, 1.3) * rng.uniform(0.93, 1.07, 3)
    shifted = (image.astype(np.float32) - 114) * gain.astype(np.float32) + np.float32(114 + rng.uniform(-25, 25))
    return np.asarray(shifted.clip(0, 255), np.uint8)


def canvas_shape(spec: CropSpec, rng: np.random.Generator) -> tuple[int, int]:
    """Draw the part of the square that holds image, as frames of usual shapes leave it: (height, width).

    A few shapes only: a compiled network is compiled again for each.
    """
    upright, short_side = CANVASES[int(rng.integers(len(CANVASES)))]
    short = round(spec.square * short_side / LATENT_STRIDE) * LATENT_STRIDE
    return (spec.square, short) if upright else (short, spec.square)


def on_grey_square(batch: Image, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return crops (N, h, w, 3) as the canvas (N, 3, h, w) and on the square (N, 3, side, side), float32 0..255."""
    canvas = torch.from_numpy(batch).to(device).permute(0, 3, 1, 2).float()
    square = torch.full((len(batch), 3, side, side), float(PADDING_VALUE), device=device)
    square = square.to(memory_format=torch.channels_last)
    square[:, :, : canvas.shape[2], : canvas.shape[3]] = canvas
    return canvas, square


class CropStream:
    """An endless stream of batches (N, h, w, 3) uint8, cut ahead by threads.

    Every batch has one canvas shape. Unreadable images are skipped with a warning. The seed fixes what
    each thread cuts; with one thread, the order too. Use as a context, or call `stop`.
    """

    def __init__(
        self, images: Sequence[Path], spec: CropSpec, batch_size: int, seed: int | Sequence[int], threads: int = 2
    ) -> None:
        """Start the threads. ConfigError if there is nothing to do for them."""
        if min(len(images), batch_size, threads) < 1:
            raise ConfigError(f"{len(images)} images, {batch_size} crops, {threads} threads: too few")
        self._images, self._spec, self._batch_size = images, spec, batch_size
        self._batches: queue.Queue[Image | Exception] = queue.Queue(maxsize=2 * threads)
        self._stopped = threading.Event()
        seeds = np.random.SeedSequence(seed).spawn(threads)
        self._threads = [threading.Thread(target=self._produce, args=(s,), name="crops", daemon=True) for s in seeds]
        for thread in self._threads:
            thread.start()

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Yield batches until `stop`. ConfigError if next to no image is of use."""
        while not self._stopped.is_set():
            batch = self._batches.get()
            if isinstance(batch, Exception):
                raise batch
            yield batch

    def __enter__(self) -> CropStream:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def stop(self) -> None:
        """End the threads; returns when they have ended."""
        self._stopped.set()
        # Each thread puts at most one batch more: an empty queue has room for all of them.
        with contextlib.suppress(queue.Empty):
            while True:
                self._batches.get_nowait()
        for thread in self._threads:
            thread.join()

    def _produce(self, seed: np.random.SeedSequence) -> None:
        rng = np.random.default_rng(seed)
        try:
            while not self._stopped.is_set():
                self._batches.put(self._batch(rng))
        except Exception as error:  # raised where the batches are read; a silent end would leave that waiting
            self._batches.put(error)

    def _batch(self, rng: np.random.Generator) -> Image:
        canvas = canvas_shape(self._spec, rng)
        return np.stack([crop(self._draw(rng), self._spec, canvas, rng) for _ in range(self._batch_size)])

    def _draw(self, rng: np.random.Generator) -> Image:
        for _ in range(MAX_MISSES):
            path = self._images[int(rng.integers(len(self._images)))]
            image = read_image(path)
            if image is not None and min(image.shape[:2]) >= MIN_SIDE:
                return image
            log.warning("%s is unreadable or too small, skipped", path)
        raise ConfigError(f"{MAX_MISSES} images in a row are unreadable or under {MIN_SIDE} pixels a side")
