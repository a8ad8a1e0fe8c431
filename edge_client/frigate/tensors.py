"""The tensor of a request as an image: whatever layout, type and scale Frigate is set to. Pure.

The header comes from a stranger: nothing in it is believed before it fits the bytes.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from splitnet.errors import ProtocolError

MAX_SIDE = 1280  # pixels
MAX_DIMENSIONS = 4
CHANNELS = 3
DTYPES = ("uint8", "float16", "float32")
MAX_TENSOR_BYTES = MAX_SIDE * MAX_SIDE * CHANNELS * 4
LARGEST_UNIT_VALUE = 1.5  # of floats: larger ones say that they go up to 255, not to 1


class TensorReader:
    """Makes images of tensors. Remembers whether floats have ever been larger than 1: a dark image does not say so."""

    def __init__(self, pixel_format: str) -> None:
        """Take the order of colours: "rgb" or "bgr"."""
        self._is_rgb = pixel_format == "rgb"
        self._has_bytes = False

    def image(self, header: dict[str, Any], data: memoryview | bytes) -> NDArray[np.uint8]:
        """Return the image (H, W, 3) uint8 BGR. Raises ProtocolError if header and bytes do not fit each other."""
        shape, dtype = _shape_of(header), _dtype_of(header)
        expected = math.prod(shape) * dtype.itemsize
        if len(data) != expected:
            raise ProtocolError(f"a tensor {list(shape)} of {dtype} has {expected} bytes, not {len(data)}")
        tensor = _height_width_channels(np.frombuffer(data, dtype).reshape(shape))
        pixels = tensor if dtype == np.uint8 else self._as_bytes(tensor)
        whole = np.ascontiguousarray(pixels, np.uint8)
        return np.asarray(cv2.cvtColor(whole, cv2.COLOR_RGB2BGR), np.uint8) if self._is_rgb else whole

    def _as_bytes(self, tensor: NDArray[Any]) -> NDArray[np.uint8]:
        least, largest = float(tensor.min()), float(tensor.max())
        if not (math.isfinite(least) and math.isfinite(largest)):
            raise ProtocolError("the tensor holds values that are no numbers")
        self._has_bytes = self._has_bytes or largest > LARGEST_UNIT_VALUE
        scaled = tensor.astype(np.float32) * (1.0 if self._has_bytes else 255.0)
        whole: NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
        return whole


def _shape_of(header: dict[str, Any]) -> tuple[int, ...]:
    shape = header.get("shape")
    if not isinstance(shape, list) or not 3 <= len(shape) <= MAX_DIMENSIONS:
        raise ProtocolError("the header needs a shape such as [1, 320, 320, 3]")
    if not all(type(side) is int and 1 <= side <= MAX_SIDE for side in shape):
        raise ProtocolError(f"the sides of a shape are whole numbers from 1 to {MAX_SIDE}")
    return tuple(shape)


def _dtype_of(header: dict[str, Any]) -> np.dtype[Any]:
    name = header.get("dtype")
    if name not in DTYPES:
        raise ProtocolError(f"the header needs a dtype: one of {', '.join(DTYPES)}")
    found: np.dtype[Any] = np.dtype(name).newbyteorder("<")
    return found


def _height_width_channels(tensor: NDArray[Any]) -> NDArray[Any]:
    """Return one image (H, W, 3), whether it came as NHWC, NCHW, HWNC, HWCN or without N."""
    if tensor.ndim == MAX_DIMENSIONS:
        batch = next((axis for axis in (0, 2, 3) if tensor.shape[axis] == 1), None)
        if batch is None:
            raise ProtocolError(f"one image at a time: the shape {list(tensor.shape)} holds several")
        tensor = tensor.squeeze(batch)
    if tensor.shape[2] == CHANNELS:
        return tensor
    if tensor.shape[0] == CHANNELS:
        return np.moveaxis(tensor, 0, 2)
    raise ProtocolError(f"the shape {list(tensor.shape)} has no three channels: yuv is not taken, set rgb or bgr")
