"""Features stretched to a square, as images are that a detector wants to fill it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from splitnet.letterbox import Letterbox
from splitnet.nn.filling import extent, interpolation, stretched, with_mask
from splitnet.nn.split_detector import image_input, stretched_canvas


def test_a_batch_of_several_sizes_is_stretched_each_for_itself():
    x = torch.randn(2, 3, 10, 12, generator=torch.Generator().manual_seed(0))
    found = stretched(x, torch.tensor([6, 10]), torch.tensor([8, 12]), 20)
    for one, (rows, columns), image in zip(found, ((6, 8), (10, 12)), x, strict=True):
        expected = F.interpolate(image[None, :, :rows, :columns], size=(20, 20), mode="bilinear")
        torch.testing.assert_close(one, expected[0], rtol=1e-4, atol=1e-5)


def test_what_fills_already_stays():
    x = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(interpolation(torch.tensor([8]), 8, 8)[0], torch.eye(8))
    assert torch.equal(stretched(x, torch.tensor([8]), torch.tensor([8]), 8), x)


def test_nothing_of_what_lies_beside_the_picture_gets_in():
    x = torch.zeros(1, 1, 6, 6)
    x[:, :, 4:] = torch.inf
    x[:, :, :, 3:] = 1e30
    x[:, :, 4:] = 1e30
    assert float(stretched(x, torch.tensor([4]), torch.tensor([3]), 13).abs().max()) == 0.0


def test_a_mask_says_how_large_the_picture_is():
    latent = torch.ones(5, 2, 3)
    padded = with_mask(latent, 4, 6)
    assert padded.shape == (6, 4, 6)
    assert padded.sum() == 6 * 6
    rows, columns = extent(torch.stack((padded[-1], with_mask(torch.ones(1, 4, 6), 4, 6)[-1])))
    assert (rows.tolist(), columns.tolist()) == ([2, 4], [3, 6])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_it_computes_in_the_format_of_the_features(dtype):
    assert stretched(torch.ones(1, 1, 4, 4, dtype=dtype), torch.tensor([2]), torch.tensor([2]), 8).dtype is dtype


def test_a_canvas_is_stretched_and_boxes_find_back():
    box = Letterbox.fit(640, 480, 416)  # 416 x 312 on a canvas of 416 x 320
    assert image_input(np.zeros((320, 416, 3), np.uint8), 416, fills=True).shape == (3, 416, 416)
    boxes = np.array([[0, 0, 416, 416], [104, 104, 208, 208]], np.float32)
    mapped = box.boxes_to_frame(boxes, filled=416)
    assert mapped[0].tolist() == pytest.approx([0, 0, 640, 480])  # a canvas's last rows are no image: clipped
    assert mapped[1].tolist() == pytest.approx([160, 80 / 0.65, 320, 160 / 0.65])


def test_a_picture_without_its_grey_rows_is_stretched_as_its_canvas_is():
    image = np.random.default_rng(0).integers(0, 256, (312, 416, 3), dtype=np.uint8)
    canvas = np.full((320, 416, 3), 114, np.uint8)
    canvas[:312] = image
    assert np.array_equal(stretched_canvas(image, 416), stretched_canvas(canvas, 416))
