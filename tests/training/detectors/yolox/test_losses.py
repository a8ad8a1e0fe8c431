"""The detector's losses by hand: what is right costs nothing, and each part counts what it says."""

from __future__ import annotations

import math

import pytest
import torch

from splitnet.nn.suppression import pairwise_iou
from splitnet.nn.yolox.boxes import anchor_grid, decode_boxes
from training.detectors.yolox.losses import BOX_WEIGHT, encode_boxes, overlap_loss, yolox_losses

SQUARE, ANCHORS = 64, 64 + 16 + 4


def raw_of(boxes: dict[int, list[float]], classes: int = 3, quiet: float = -30.0) -> torch.Tensor:
    """Return raw predictions (1, A, 5 + classes) of these boxes at these anchors, specks of nothing elsewhere."""
    corners, strides = anchor_grid(SQUARE, torch.device("cpu"))
    raw = torch.full((1, ANCHORS, 5 + classes), quiet)
    raw[..., :4] = torch.tensor([0.0, 0.0, -8.0, -8.0])
    for anchor, box in boxes.items():
        raw[0, anchor, :4] = encode_boxes(torch.tensor([box]), corners[[anchor]], strides[[anchor]])[0]
    return raw


def test_encoding_undoes_decoding():
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(1, ANCHORS, 4, generator=generator)
    corners, strides = anchor_grid(SQUARE, raw.device)
    boxes = decode_boxes(raw, SQUARE)[0]
    torch.testing.assert_close(encode_boxes(boxes, corners, strides), raw[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("predicted", "iou"),
    [([0, 0, 10, 10], 1.0), ([0, 0, 10, 5], 0.5), ([20, 20, 30, 30], 0.0), ([5, 0, 15, 10], 1 / 3)],
)
def test_the_loss_of_an_overlap_by_hand(predicted, iou):
    truth = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    assert overlap_loss(torch.tensor([predicted], dtype=torch.float32), truth).item() == pytest.approx(1 - iou**2)


def test_a_perfect_answer_costs_nothing():
    box = [16.0, 16.0, 48.0, 48.0]
    raw = raw_of({27: box})
    raw[0, 27, 4], raw[0, 27, 6] = 30.0, 30.0
    losses = yolox_losses(raw, [torch.tensor([box])], [torch.tensor([1])], SQUARE, with_distance=True)
    assert losses.pop("positives").item() == 1
    assert set(losses) == {"box", "object", "class", "distance"}
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(0.0, abs=1e-4), name


def test_each_part_counts_what_is_wrong_with_it():
    box = [16.0, 16.0, 48.0, 48.0]
    raw = raw_of({27: [16.0, 16.0, 48.0, 32.0]})  # the upper half of it
    raw[0, 27, 4], raw[0, 27, 5:] = 0.0, torch.tensor([0.0, 1.0, -1.0])
    losses = yolox_losses(raw, [torch.tensor([box])], [torch.tensor([1])], SQUARE, with_distance=True)
    assert losses["positives"].item() == 1
    assert losses["box"].item() == pytest.approx(BOX_WEIGHT * 0.75)
    assert losses["object"].item() == pytest.approx(math.log(2))
    # Against 0, 0.5 (the overlap) and 0.
    soft = [math.log(2), math.log(1 + math.e) - 0.5, math.log(1 + 1 / math.e)]
    assert losses["class"].item() == pytest.approx(sum(soft))
    assert losses["distance"].item() == pytest.approx(1.0 + math.log(2))  # a cell too high, half of the height


def test_the_distance_counts_at_the_end_only():
    losses = yolox_losses(raw_of({}), [torch.zeros(0, 4)], [torch.zeros(0).long()], SQUARE, with_distance=False)
    assert "distance" not in losses


def test_an_empty_image_teaches_where_nothing_is():
    raw = raw_of({}, quiet=0.0).requires_grad_(True)
    losses = yolox_losses(raw, [torch.zeros(0, 4)], [torch.zeros(0).long()], SQUARE, with_distance=True)
    assert losses["object"].item() == pytest.approx(ANCHORS * math.log(2))
    assert [losses[name].item() for name in ("box", "class", "distance", "positives")] == [0, 0, 0, 0]
    torch.stack([losses[name] for name in ("box", "object", "class", "distance")]).sum().backward()
    assert raw.grad is not None
    assert torch.equal(raw.grad[..., 4], torch.full((1, ANCHORS), 0.5))
    assert raw.grad[..., 5:].abs().sum() == raw.grad[..., :4].abs().sum() == 0  # there, but zero: others wait for it


def test_images_of_a_batch_do_not_mix():
    box = [16.0, 16.0, 48.0, 48.0]
    full, empty = raw_of({27: box}), raw_of({})
    full[0, 27, 4], full[0, 27, 6] = 30.0, 30.0
    objects = [torch.tensor([box]), torch.zeros(0, 4)], [torch.tensor([1]), torch.zeros(0).long()]
    losses = yolox_losses(torch.cat((full, empty)), *objects, SQUARE, with_distance=True)
    assert losses["positives"].item() == 0.5
    assert losses["box"].item() == pytest.approx(0.0, abs=1e-4)
    swapped = yolox_losses(torch.cat((empty, full)), *objects, SQUARE, with_distance=True)
    assert swapped["object"].item() > 25


def test_half_precision_predictions_are_summed_in_single():
    raw = raw_of({}, quiet=0.0).bfloat16()
    losses = yolox_losses(raw, [torch.zeros(0, 4)], [torch.zeros(0).long()], SQUARE, with_distance=False)
    assert losses["object"].dtype is torch.float32


def test_a_few_steps_down_the_gradient_find_two_objects():
    torch.manual_seed(0)
    raw = (0.1 * torch.randn(1, ANCHORS, 5 + 3)).requires_grad_(True)
    boxes = torch.tensor([[4.0, 4.0, 20.0, 28.0], [30.0, 20.0, 62.0, 60.0]])
    labels = torch.tensor([2, 0])
    optimiser = torch.optim.Adam([raw], lr=0.2)
    for _ in range(60):
        losses = yolox_losses(raw, [boxes], [labels], SQUARE, with_distance=False)
        optimiser.zero_grad()
        (losses["box"] + losses["object"] + losses["class"]).backward()
        optimiser.step()
    with torch.no_grad():
        scores = raw[0, :, 4].sigmoid()[:, None] * raw[0, :, 5:].sigmoid()
        found = decode_boxes(raw[..., :4], SQUARE)[0]
    for box, label in zip(boxes, labels.tolist(), strict=True):
        best = int(scores[:, label].argmax())
        assert scores[best, label] > 0.8
        assert pairwise_iou(found[[best]], box[None]).item() > 0.8
