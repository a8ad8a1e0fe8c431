"""Anchors and box coding of EfficientDet, on cases worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from splitnet.nn.efficientdet.anchors import anchor_boxes, corners_of, decode_boxes, encode_boxes

CPU = torch.device("cpu")


@pytest.mark.parametrize(("size", "count"), [(512, 49104), (640, 76725), (768, 110484), (128, 3069)])
def test_there_are_nine_anchors_for_each_cell_of_each_level(size, count):
    assert anchor_boxes(size, CPU).shape == (count, 4)


def test_the_anchors_of_the_first_cell():
    # Stride 8: sides 32, 32 * 2^(1/3), 32 * 2^(2/3); square, wide (1.4 x 0.7), tall (0.7 x 1.4).
    first = anchor_boxes(512, CPU)[:9]
    sides = [32.0, 40.317474, 50.796833]
    expected = [[4.0, 4.0, s * h, s * w] for s in sides for w, h in ((1, 1), (1.4, 0.7), (0.7, 1.4))]
    torch.testing.assert_close(first, torch.tensor(expected))


def test_cells_go_along_rows_and_levels_from_the_finest():
    anchors = anchor_boxes(512, CPU)
    assert anchors[9, :2].tolist() == [4, 12]  # the second cell: further right
    assert anchors[64 * 9, :2].tolist() == [12, 4]  # the second row
    second_level = 64 * 64 * 9
    assert anchors[second_level].tolist() == [8, 8, 64, 64]
    torch.testing.assert_close(
        anchors[-1], torch.tensor([448, 448, 512 * 1.4 * 4 ** (1 / 3), 512 * 0.7 * 4 ** (1 / 3)])
    )


def test_a_level_that_does_not_divide_the_square_spreads_its_cells_over_it():
    anchors = anchor_boxes(96, CPU)
    levels = [144, 36, 9, 4, 1]  # cells: 12, 6, 3, 2 and 1 a side
    assert len(anchors) == 9 * sum(levels)
    assert anchors[-1, :2].tolist() == [48, 48]
    assert anchors[-9].tolist() == [48, 48, 384, 384]
    assert anchors[-5 * 9].tolist() == [24, 24, 192, 192]


def test_a_box_is_decoded_as_by_hand():
    anchor = torch.tensor([[100.0, 200.0, 40.0, 20.0]])  # y, x, height, width
    coded = torch.tensor([[0.5, -1.0, math.log(2), math.log(0.5)]])
    # centre y 100 + 20, centre x 200 - 20; height 80, width 10
    torch.testing.assert_close(decode_boxes(coded, anchor), torch.tensor([[175.0, 80.0, 185.0, 160.0]]))


def test_a_box_is_encoded_as_by_hand():
    anchor = torch.tensor([[10.0, 10.0, 8.0, 4.0]])
    box = torch.tensor([[8.0, 2.0, 16.0, 10.0]])  # centre (12, 6), 8 wide and high
    torch.testing.assert_close(encode_boxes(box, anchor), torch.tensor([[-0.5, 0.5, 0.0, math.log(2)]]))


def test_corners_are_those_of_the_anchor():
    assert corners_of(torch.tensor([[10.0, 20.0, 4.0, 8.0]])).tolist() == [[16, 8, 24, 12]]


pixel = st.floats(-100, 600)
side = st.floats(1, 500)


@given(x=pixel, y=pixel, width=side, height=side, index=st.integers(0, 3068))
def test_decoding_undoes_encoding(x, y, width, height, index):
    anchor = anchor_boxes(128, CPU)[index]
    box = torch.tensor([x, y, x + width, y + height])
    torch.testing.assert_close(decode_boxes(encode_boxes(box, anchor), anchor), box, rtol=1e-4, atol=0.05)


def test_a_wild_size_stays_finite_and_an_empty_box_has_a_code():
    anchor = anchor_boxes(768, CPU)[-1]
    assert bool(torch.isfinite(decode_boxes(torch.full((4,), 1e4), anchor)).all())
    assert bool(torch.isfinite(encode_boxes(torch.tensor([5.0, 5.0, 5.0, 5.0]), anchor)).all())


def test_anchors_made_in_inference_serve_a_training():
    with torch.inference_mode():
        anchors = anchor_boxes(160, CPU)
    assert not anchors.is_inference()
