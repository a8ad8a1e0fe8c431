"""Fitting frames into the square."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitnet.letterbox import LATENT_STRIDE, PADDING_VALUE, Letterbox

SIDES = st.integers(1, 20_000)


@pytest.mark.parametrize(
    ("frame", "picture", "canvas"),
    [
        ((640, 480), (416, 312), (416, 320)),
        ((1920, 1080), (416, 234), (416, 240)),
        ((480, 640), (312, 416), (320, 416)),
        ((416, 416), (416, 416), (416, 416)),
        ((20, 10), (416, 208), (416, 208)),
        ((10_000, 1), (416, 1), (416, 16)),
    ],
)
def test_known_frames(frame: tuple[int, int], picture: tuple[int, int], canvas: tuple[int, int]) -> None:
    box = Letterbox.fit(*frame, 416)
    assert (box.image_width, box.image_height) == picture
    assert (box.canvas_width, box.canvas_height) == canvas


@given(width=SIDES, height=SIDES)
def test_every_frame_fits_and_touches_the_square(width: int, height: int) -> None:
    box = Letterbox.fit(width, height, 416)
    assert 1 <= box.image_width <= box.canvas_width <= 416
    assert 1 <= box.image_height <= box.canvas_height <= 416
    assert box.canvas_width % LATENT_STRIDE == box.canvas_height % LATENT_STRIDE == 0
    assert max(box.image_width, box.image_height) >= 415  # rounding may cost one pixel


@given(width=SIDES, height=SIDES)
def test_a_stretched_frame_fills_the_square_whatever_its_shape(width: int, height: int) -> None:
    box = Letterbox.fit(width, height, 224, stretches=True)
    assert (box.image_width, box.image_height, box.canvas_width, box.canvas_height) == (224, 224, 224, 224)
    assert (box.scale_x, box.scale_y) == (224 / width, 224 / height)


def test_a_stretched_frame_is_nothing_but_image() -> None:
    frame = np.full((45, 80, 3), 200, np.uint8)
    assert (Letterbox.fit(80, 45, 64, stretches=True).apply(frame) == 200).all()


@given(width=SIDES, height=SIDES, x=st.floats(0, 1), y=st.floats(0, 1), stretches=st.booleans())
def test_boxes_come_back_to_where_they_were(width: int, height: int, x: float, y: float, stretches: bool) -> None:
    box = Letterbox.fit(width, height, 416, stretches=stretches)
    corner = np.array([x * width, y * height, width, height], np.float32)
    there = (corner * np.array([box.scale_x, box.scale_y] * 2, np.float32))[None]
    assert box.boxes_to_frame(there)[0] == pytest.approx(corner, rel=1e-4, abs=1e-3)


def test_boxes_are_clipped_to_the_frame() -> None:
    boxes = np.array([[-50, -50, 9999, 9999]], np.float32)
    assert Letterbox.fit(100, 50, 416).boxes_to_frame(boxes).tolist() == [[0, 0, 100, 50]]


def test_the_canvas_is_grey_outside_of_the_picture() -> None:
    canvas = Letterbox.fit(64, 45, 64).apply(np.zeros((45, 64, 3), np.uint8))
    assert canvas.shape == (48, 64, 3)
    assert canvas[:45].max() == 0
    assert (canvas[45:] == PADDING_VALUE).all()


@pytest.mark.parametrize("size", [(1, 1), (128, 128), (64, 64), (640, 427), (427, 640), (3000, 2), (2, 3000), (33, 64)])
def test_the_picture_is_scaled_into_its_place(size: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    box = Letterbox.fit(*size, 64)
    canvas = box.apply(frame)
    wanted = cv2.resize(frame, (box.image_width, box.image_height), interpolation=cv2.INTER_LINEAR)
    assert canvas.shape == (box.canvas_height, box.canvas_width, 3)
    assert (canvas[: box.image_height, : box.image_width] == wanted).all()
    assert (canvas[box.image_height :] == PADDING_VALUE).all()
    assert (canvas[:, box.image_width :] == PADDING_VALUE).all()


def test_the_frame_stays_as_it_is() -> None:
    frame = np.full((64, 64, 3), 7, np.uint8)
    canvas = Letterbox.fit(64, 64, 64).apply(frame)
    canvas[:] = 0
    assert frame.min() == 7


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_a_frame_without_pixels_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        Letterbox.fit(*size, 416)
