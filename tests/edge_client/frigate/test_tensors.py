"""Tensors of Frigate in every layout and type become the same image; what does not fit its header is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge_client.frigate.tensors import TensorReader
from splitnet.errors import ProtocolError

IMAGE = np.random.default_rng(1).integers(0, 256, (8, 12, 3), np.uint8)  # BGR


def read(tensor: np.ndarray, reader: TensorReader | None = None, **header: Any) -> np.ndarray:
    about = {"shape": list(tensor.shape), "dtype": tensor.dtype.name, **header}
    return (reader or TensorReader("bgr")).image(about, tensor.tobytes())


@pytest.mark.parametrize(
    "axes", [(0, 1, 2, 3), (0, 3, 1, 2), (1, 2, 0, 3), (1, 2, 3, 0)], ids=["nhwc", "nchw", "hwnc", "hwcn"]
)
def test_every_layout_of_frigate_is_read(axes):
    assert np.array_equal(read(IMAGE[None].transpose(axes)), IMAGE)


def test_a_tensor_without_a_batch_is_read():
    assert np.array_equal(read(IMAGE), IMAGE)


def test_rgb_becomes_bgr():
    assert np.array_equal(read(IMAGE[None, :, :, ::-1], TensorReader("rgb")), IMAGE)


def test_floats_up_to_one_are_read():
    assert np.array_equal(read((IMAGE[None] / 255).astype(np.float32)), IMAGE)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_floats_up_to_255_are_read(dtype):
    assert np.array_equal(read(IMAGE[None].astype(dtype)), IMAGE)


def test_a_dark_image_of_floats_is_read_as_the_bright_ones_before_it():
    reader = TensorReader("bgr")
    read(IMAGE[None].astype(np.float32), reader)
    assert np.array_equal(read(np.ones((1, 2, 2, 3), np.float32), reader), np.ones((2, 2, 3), np.uint8))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"shape": None}, "needs a shape"),
        ({"shape": "8x12"}, "needs a shape"),
        ({"shape": [8, 12]}, "needs a shape"),
        ({"shape": [1] * 7}, "needs a shape"),
        ({"shape": [1, 8, 12, True]}, "whole numbers"),
        ({"shape": [1, 8.0, 12, 3]}, "whole numbers"),
        ({"shape": [1, -8, -12, 3]}, "whole numbers"),
        ({"shape": [1, 10**30, 12, 3]}, "from 1 to 1280"),
        ({"shape": [1, 8, 12, 4]}, "has 384 bytes, not 288"),
        ({"shape": [1, 8, 13, 3]}, "has 312 bytes, not 288"),
        ({"shape": [2, 4, 12, 3]}, "holds several"),
        ({"shape": [1, 8, 6, 6]}, "three channels: yuv is not taken"),
        ({"dtype": None}, "needs a dtype"),
        ({"dtype": ["uint8"]}, "needs a dtype"),
        ({"dtype": "object"}, "needs a dtype"),
        ({"dtype": "float32"}, "has 1152 bytes, not 288"),
    ],
)
def test_a_tensor_of_another_shape_or_type_than_announced_is_refused(header, message):
    with pytest.raises(ProtocolError, match=message):
        read(IMAGE[None], **header)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(value):
    with pytest.raises(ProtocolError, match="no numbers"):
        read(np.full((1, 2, 2, 3), value, np.float32))
