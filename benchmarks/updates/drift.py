"""Scenes that a camera drifts to: the images of a day, as night, fog or a dirty lens would show them. Pure.

Every drift is a function of the image alone, so boxes stay right, and the same image always drifts to the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

NIGHT_GAMMA, NIGHT_LEVEL, NIGHT_NOISE = 1.6, 0.35, 7.0  # noise in grey levels
FOG_LEVEL, FOG_NEAR, FOG_FAR = 200.0, 0.35, 0.8  # share of the fog at the bottom of an image, and at its top
LENS_BLUR, LENS_SPOTS, LENS_SPOT_SIDE = 0.006, 9, 0.14  # of the image's longer side


def night(image: Image) -> Image:
    """Return a BGR image (H, W, 3) dark, bluish and noisy."""
    light = NIGHT_LEVEL * (image / np.float32(255)) ** NIGHT_GAMMA * 255
    light *= np.array((1.15, 0.95, 0.85), np.float32)
    return _bytes(light + NIGHT_NOISE * _noise(image))


def fog(image: Image) -> Image:
    """Return a BGR image (H, W, 3) behind fog that is thicker where things are far: at the top."""
    share = np.linspace(FOG_FAR, FOG_NEAR, len(image), dtype=np.float32)[:, None, None]
    return _bytes((1 - share) * image + share * FOG_LEVEL)


def lens(image: Image) -> Image:
    """Return a BGR image (H, W, 3) through a lens out of focus, with drops on it. The drops are always the same."""
    side = max(image.shape[:2])
    blurred = cv2.GaussianBlur(image, (0, 0), LENS_BLUR * side)
    smeared = cv2.GaussianBlur(image, (0, 0), 5 * LENS_BLUR * side)
    mask = np.zeros(image.shape[:2], np.float32)
    for x, y, size in np.random.default_rng(0).uniform(0, 1, (LENS_SPOTS, 3)):
        centre = (int(x * image.shape[1]), int(y * image.shape[0]))
        cv2.circle(mask, centre, max(1, int((0.3 + 0.7 * size) * LENS_SPOT_SIDE * side / 2)), 1.0, -1)
    soft = cv2.GaussianBlur(mask, (0, 0), LENS_BLUR * side)[..., None]
    return _bytes((1 - soft) * blurred + soft * (0.8 * smeared + 30))


def _noise(image: Image) -> NDArray[np.float32]:
    return np.random.default_rng(int(image[::16, ::16].sum())).standard_normal(image.shape, np.float32)


def _bytes(values: NDArray[np.floating]) -> Image:
    return np.asarray(np.rint(values).clip(0, 255), np.uint8)


DRIFTS: Mapping[str, Callable[[Image], Image]] = {"night": night, "fog": fog, "lens": lens}
