"""Fit a frame into the detector's square input and map boxes back.

The image is scaled to touch the square on its longer side and lies at the top left, as the public
YOLOX weights expect. The device processes only the *canvas*: the image padded to a multiple of the
latent stride. The rest of the square is grey by definition, so nobody computes or sends it.

Other detectors were trained on images that are stretched to the whole square, and see much worse otherwise. For
those, frames are stretched: a square of fewer pixels a side then costs what the letterboxed canvas does.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

PADDING_VALUE = 114  # grey level of everything outside the image, from the public training recipe
LATENT_STRIDE = 16  # pixels of the canvas per position of the latent


@dataclass(frozen=True)
class Letterbox:
    """Where a frame of a given size lies in the square. All sizes in pixels."""

    frame_width: int
    frame_height: int
    scale_x: float  # image pixels per frame pixel
    scale_y: float
    image_width: int
    image_height: int
    canvas_width: int
    canvas_height: int

    @classmethod
    def fit(
        cls,
        frame_width: int,
        frame_height: int,
        input_size: int,
        multiple: int = LATENT_STRIDE,
        stretches: bool = False,
    ) -> Letterbox:
        """Return the geometry for a frame in a square of input_size pixels a side.

        multiple: what the canvas's sides are multiples of. stretches: the image fills the square.
        """
        if frame_width < 1 or frame_height < 1:
            raise ValueError(f"a frame needs at least one pixel, not {frame_width}x{frame_height}")
        scale_x, scale_y = input_size / frame_width, input_size / frame_height
        width = height = input_size
        if not stretches:
            scale_x = scale_y = min(scale_x, scale_y)
            width, height = (max(1, int(side * scale_x)) for side in (frame_width, frame_height))
        canvas_width, canvas_height = _round_up(width, multiple), _round_up(height, multiple)
        return cls(frame_width, frame_height, scale_x, scale_y, width, height, canvas_width, canvas_height)

    def apply(self, frame: NDArray[np.uint8], offset: tuple[float, float] = (0.0, 0.0)) -> NDArray[np.uint8]:
        """Scale a BGR frame (H, W, 3) uint8 and pad it to the canvas (canvas_height, canvas_width, 3).

        offset: pixels of the canvas, right and down, that the picture is moved by within its place. What leaves it is
        lost, and its border is repeated where nothing comes in.
        """
        canvas: NDArray[np.uint8] = np.empty((self.canvas_height, self.canvas_width, 3), dtype=np.uint8)
        canvas[self.image_height :] = PADDING_VALUE
        canvas[: self.image_height, self.image_width :] = PADDING_VALUE
        image = canvas[: self.image_height, : self.image_width]  # scaled in place: a copy cost a fifth of it all
        size = self.image_width, self.image_height
        if any(offset):
            from_frame = self._from_frame(offset)
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            image[:] = cv2.warpAffine(frame, from_frame, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
        else:
            cv2.resize(frame, size, dst=image, interpolation=cv2.INTER_LINEAR)
        return canvas

    def picture(self, canvas: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the part of a canvas that is not padding."""
        return canvas[: self.image_height, : self.image_width]

    def boxes_back(self, boxes: NDArray[np.float32], offset: tuple[float, float]) -> NDArray[np.float32]:
        """Return boxes (n, 4) xyxy in pixels of a frame whose picture was moved, where they are in the frame itself."""
        moved = np.array([offset[0] / self.scale_x, offset[1] / self.scale_y] * 2, np.float32)
        sides = np.array([self.frame_width, self.frame_height] * 2, np.float32)
        return np.asarray(np.clip(boxes - moved, 0, sides), np.float32)

    def _from_frame(self, offset: tuple[float, float]) -> NDArray[np.float64]:
        """Return the affine map from the moved picture's pixels to the frame's, centres to where `resize` has them."""
        across, down = self.frame_width / self.image_width, self.frame_height / self.image_height
        columns = [across, 0, across * (0.5 - offset[0]) - 0.5]
        return np.array([columns, [0, down, down * (0.5 - offset[1]) - 0.5]])

    def boxes_to_frame(self, boxes: NDArray[np.float32], filled: int | None = None) -> NDArray[np.float32]:
        """Map boxes (n, 4) xyxy from the square's pixels to the frame's, clipped to the frame.

        filled: side of the square, if the canvas was stretched to all of it.
        """
        scales = np.array([self.scale_x, self.scale_y] * 2, np.float32)
        mapped: NDArray[np.float32] = boxes / scales
        if filled is not None:
            mapped = mapped * (np.array([self.canvas_width, self.canvas_height] * 2, np.float32) / np.float32(filled))
        mapped[:, 0::2] = mapped[:, 0::2].clip(0, self.frame_width)
        mapped[:, 1::2] = mapped[:, 1::2].clip(0, self.frame_height)
        return mapped


def stretched_canvas(canvas: NDArray[np.uint8], input_size: int) -> NDArray[np.uint8]:
    """Return a BGR canvas (H, W, 3), or the picture on it alone, stretched to the square (S, S, 3)."""
    below, right = (-side % LATENT_STRIDE for side in canvas.shape[:2])
    if below or right:
        canvas = np.pad(canvas, ((0, below), (0, right), (0, 0)), constant_values=PADDING_VALUE)
    return np.asarray(cv2.resize(canvas, (input_size, input_size), interpolation=cv2.INTER_LINEAR), np.uint8)


def _round_up(pixels: int, multiple: int) -> int:
    return -(-pixels // multiple) * multiple
