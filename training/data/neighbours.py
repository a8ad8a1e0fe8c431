"""Pairs of neighbouring frames: of clips, or of a camera that rests on an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from splitnet.errors import ConfigError
from training.data.clips import Image, still, video_frames
from training.data.crops import MIN_SIDE, CropSpec, canvas_shape, crop
from training.data.images import MAX_MISSES, read_image

FPS = 10.0
CLIP_FRAMES = 100  # of each clip, at most: they stay in memory


class NeighbourFrames:
    """Draws pairs; both frames of one are cut and lit alike."""

    def __init__(self, clips: Sequence[Path], images: Sequence[Path], spec: CropSpec, count: int) -> None:
        """Read the clips' frames, each as large as a crop can use. Without clips, images are what a camera rests on.

        count: pairs of a draw. ConfigError if a clip cannot be read, or there is nothing to draw from.
        """
        if count < 1 or not (clips or images):
            raise ConfigError("no pairs of frames to draw: give clips or images")
        self._images, self._spec, self._count = images, spec, count
        long = round(spec.input_size * spec.max_scale)
        self._clips = [[_fitted(frame, long) for frame in video_frames(clip, FPS, CLIP_FRAMES)] for clip in clips]

    def __call__(self, draw: np.random.Generator) -> NDArray[np.uint8]:
        """Return first and second frames (2, count, h, w, 3) uint8 BGR. ConfigError if no image is of use."""
        canvas = canvas_shape(self._spec, draw)
        pairs = []
        for _ in range(self._count):
            frames, seed = self._pair(draw), int(draw.integers(2**31))
            pairs.append([crop(frame, self._spec, canvas, np.random.default_rng(seed)) for frame in frames])
        return np.stack([np.stack(frames) for frames in zip(*pairs, strict=True)])

    def _pair(self, draw: np.random.Generator) -> Sequence[Image]:
        if not self._clips:
            return list(still(self._image(draw), draw, 2))
        clip = self._clips[int(draw.integers(len(self._clips)))]
        number = int(draw.integers(len(clip) - 1))
        return clip[number : number + 2]

    def _image(self, draw: np.random.Generator) -> Image:
        for _ in range(MAX_MISSES):
            image = read_image(self._images[int(draw.integers(len(self._images)))])
            if image is not None and min(image.shape[:2]) >= MIN_SIDE:
                return image
        raise ConfigError(f"{MAX_MISSES} images in a row are unreadable or under {MIN_SIDE} pixels a side")


def _fitted(image: Image, long: int) -> Image:
    """Return an image whose longer side is at most `long`."""
    scale = long / max(image.shape[:2])
    if scale >= 1:
        return image
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
