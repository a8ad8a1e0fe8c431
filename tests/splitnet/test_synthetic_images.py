"""Images to measure with where there are no others."""

from __future__ import annotations

import numpy as np

from splitnet.synthetic_images import synthetic_images


def test_drawn_pictures_are_camera_sized_and_differ():
    first, second = synthetic_images(2)
    assert first.shape == (720, 1280, 3)
    assert first.dtype == np.uint8
    assert (first != second).any()
    assert (first == synthetic_images(1)[0]).all()  # the same in every run
