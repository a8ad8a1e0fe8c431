"""Batches of labelled images, each a function of seed and step alone: an interrupted training goes on in order."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from splitnet.errors import ConfigError
from training.data.augment import Image, Sample, filling, letterboxed, varied
from training.data.batch_stream import BatchStream
from training.data.coco import LabelledImage, LabelledImages
from training.data.crops import check_square
from training.data.images import MAX_MISSES, read_image
from training.data.mosaic import mosaic, single

MIN_SQUARE = 64  # pixels a side: at the coarsest level, normalisation needs more than one position of one image
SIDES_AROUND = (-2, -1, 0, 1, 2)  # of the square, in units of 32 pixels: each batch draws one until images come plain
CACHE_BYTES = 512_000_000  # of decoded images; the rest is decoded again every time
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StreamSpec:
    """Which batches."""

    square: int  # pixels a side, a multiple of 32
    batch_size: int  # images of one process
    plain_from: int  # the step from which images come whole and in the square, as they will be detected in
    mosaic_share: float = 1.0  # of the images before that step; the others come alone, at sizes of their own
    seed: int = 0
    rank: int = 0  # of this process
    processes: int = 1
    fills: bool = False  # pictures that come whole are stretched to the square

    def __post_init__(self) -> None:
        """Raise ConfigError on a square that no detector takes."""
        check_square(self.square)
        if self.square < MIN_SQUARE:
            raise ConfigError(f"the training square has a side of {self.square}, must be at least {MIN_SQUARE}")


@dataclass(frozen=True, eq=False)
class LabelledBatch:
    """Images (N, S, S, 3) BGR uint8 with the boxes (n, 4) and labels (n,) of each, in pixels of the square."""

    images: Image
    boxes: tuple[NDArray[np.float32], ...]
    labels: tuple[NDArray[np.int64], ...]


class LabelledStream(BatchStream[LabelledBatch]):
    """Batches of labelled images."""

    def __init__(self, data: LabelledImages, spec: StreamSpec, first_step: int = 0, threads: int = 1) -> None:
        """Take checked images; one that cannot be decoded after all is replaced, with a warning."""
        super().__init__(first_step, threads)
        self._images, self._spec = data.images, spec
        self._cache: dict[int, Image] = {}
        self._cached_bytes = 0
        self._unreadable: set[int] = set()
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def batch(self, step: int) -> LabelledBatch:
        """Return the batch of a step. ConfigError if next to no image can be decoded."""
        spec = self._spec
        is_plain = step >= spec.plain_from
        # One size for all processes, so that none waits for another.
        drawn = int(np.random.default_rng((spec.seed, step)).choice(SIDES_AROUND))
        square = spec.square if is_plain else max(MIN_SQUARE, spec.square + 32 * drawn)
        first = (step * spec.processes + spec.rank) * spec.batch_size
        samples = [self._sample(first + i, square, is_plain) for i in range(spec.batch_size)]
        images = np.stack([sample.image for sample in samples])
        return LabelledBatch(images, tuple(s.boxes for s in samples), tuple(s.labels for s in samples))

    def _sample(self, position: int, square: int, is_plain: bool) -> Sample:
        rng = np.random.default_rng((self._spec.seed, position, 1))
        first = self._read(self._index(position), rng)
        if is_plain:
            fitted = filling(first, square) if self._spec.fills else letterboxed(first, square)
            return varied(fitted, rng)
        if rng.random() >= self._spec.mosaic_share:
            return varied(single(first, square, rng), rng)
        others = [self._read(int(rng.integers(len(self._images))), rng) for _ in range(3)]
        four = [first, *others]
        return varied(mosaic([four[i] for i in rng.permutation(4)], square, rng), rng)

    def _index(self, position: int) -> int:
        """Return which image is the n-th: every epoch has all of them, in an order of its own."""
        epoch, place = divmod(position, len(self._images))
        return int(self._order(epoch)[place])

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng((self._spec.seed, epoch, 2)).permutation(len(self._images))

    def _read(self, index: int, rng: np.random.Generator) -> Sample:
        for _ in range(MAX_MISSES):
            labelled = self._images[index]
            image = self._decoded(index, labelled)
            if image is not None:
                return Sample(image, labelled.boxes, labelled.labels)
            index = int(rng.integers(len(self._images)))
        raise ConfigError(f"{MAX_MISSES} images in a row cannot be decoded, as {labelled.path}")

    def _decoded(self, index: int, labelled: LabelledImage) -> Image | None:
        if index in self._cache:
            return self._cache[index]
        image = read_image(labelled.path)
        if image is None or image.shape[:2] != (labelled.height, labelled.width):
            if index not in self._unreadable:
                self._unreadable.add(index)
                log.warning("%s cannot be decoded as %dx%d, skipped", labelled.path, labelled.width, labelled.height)
            return None
        if self._cached_bytes + image.nbytes <= CACHE_BYTES:
            self._cached_bytes += image.nbytes
            self._cache[index] = image
        return image
