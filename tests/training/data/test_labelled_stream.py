"""Batches of labelled images: the same whoever asks, in an order that goes on after an interruption."""

from __future__ import annotations

import logging
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from splitnet.errors import ConfigError
from tests.support.tiny_student import random_images
from training.data import labelled_stream
from training.data.coco import LabelledImage, LabelledImages
from training.data.data_problems import DataProblems
from training.data.labelled_stream import LabelledBatch, LabelledStream, StreamSpec

COUNT = 5


@pytest.fixture
def data(tmp_path: Path) -> LabelledImages:
    """Return images of 48x64 with an object each, labelled with the number of its image."""
    found = []
    for i in range(COUNT):
        path = tmp_path / f"{i}.png"
        assert cv2.imwrite(str(path), random_images(1, 48, 64, seed=i)[0])
        found.append(LabelledImage(path, 64, 48, np.array([[4, 4, 60, 44]], np.float32), np.array([i])))
    return LabelledImages(tuple("abcde"), tuple(found), DataProblems())


def spec(**changes: float) -> StreamSpec:
    values: dict[str, Any] = {"square": 64, "batch_size": 2, "plain_from": 0, **changes}
    return StreamSpec(**values)


def take(data: LabelledImages, count: int, first: int = 0, threads: int = 1, **changes: float) -> list[LabelledBatch]:
    with LabelledStream(data, spec(**changes), first, threads) as stream:
        return list(islice(stream, count))


def labels(batches: list[LabelledBatch]) -> list[int]:
    return [int(label) for batch in batches for one in batch.labels for label in one]


def assert_equal(ours: list[LabelledBatch], theirs: list[LabelledBatch]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert np.array_equal(a.images, b.images)
        assert all(np.array_equal(x, y) for x, y in zip((*a.boxes, *a.labels), (*b.boxes, *b.labels), strict=True))


def test_every_epoch_has_every_image_once_in_another_order(data):
    seen = labels(take(data, 10))
    epochs = [seen[i : i + COUNT] for i in range(0, 20, COUNT)]
    assert all(sorted(epoch) == list(range(COUNT)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_stream_goes_on_where_another_one_ended(data):
    whole = take(data, 6, plain_from=4)
    assert_equal(whole[3:], take(data, 3, first=3, plain_from=4))


def test_threads_change_nothing(data):
    assert_equal(take(data, 5, plain_from=3), take(data, 5, plain_from=3, threads=3))


def test_another_seed_is_another_order(data):
    assert labels(take(data, 5)) != labels(take(data, 5, seed=1))


def test_processes_share_the_images_of_a_step(data):
    alone = labels(take(data, 3, batch_size=4))
    both = [labels(take(data, 3, processes=2, rank=rank)) for rank in (0, 1)]
    assert [x for i in (0, 2, 4) for half in both for x in half[i : i + 2]] == alone


def test_processes_draw_the_same_size(data):
    sizes = [[b.images.shape for b in take(data, 6, plain_from=9, processes=2, rank=rank)] for rank in (0, 1)]
    assert sizes[0] == sizes[1]
    assert len(set(sizes[0])) > 1


def test_plain_images_come_whole_and_at_the_size_of_detection(data):
    (batch,) = take(data, 1)
    assert batch.images.shape == (2, 64, 64, 3)
    for boxes in batch.boxes:
        assert boxes.tolist() == [[4, 4, 60, 44]]  # it lies in the middle: mirrored it is the same


def test_mosaics_come_in_several_sizes_and_then_end(data):
    batches = take(data, 12, plain_from=8)
    sides = [batch.images.shape[1] for batch in batches]
    assert set(sides[:8]) <= {64, 96, 128}
    assert len(set(sides[:8])) > 1
    assert sides[8:] == [64] * 4
    assert max(len(boxes) for batch in batches[:8] for boxes in batch.boxes) > 1


def test_a_share_of_the_images_comes_alone(data):
    none, half, all_ = (
        [len(boxes) for batch in take(data, 12, plain_from=99, mosaic_share=share) for boxes in batch.boxes]
        for share in (0.0, 0.5, 1.0)
    )
    assert max(none) == 1
    assert sum(none) < sum(half) < sum(all_)


def test_decoded_images_are_kept_up_to_a_limit(data, monkeypatch):
    read = []
    original = labelled_stream.read_image
    monkeypatch.setattr(labelled_stream, "read_image", lambda path: read.append(path) or original(path))
    take(data, 10)
    assert len(read) == COUNT
    monkeypatch.setattr(labelled_stream, "CACHE_BYTES", 2 * 48 * 64 * 3)
    read.clear()
    take(data, 10)
    assert len(read) > COUNT


def test_a_image_that_vanished_is_replaced_and_said_once(data, caplog):
    data.images[2].path.unlink()
    with caplog.at_level(logging.WARNING):
        seen = labels(take(data, 10))
    assert 2 not in seen
    assert len(seen) == 20
    assert len([r for r in caplog.records if "cannot be decoded as 64x48" in r.message]) == 1


def test_a_image_that_became_another_is_not_trained_on(data):
    assert cv2.imwrite(str(data.images[0].path), random_images(1, 64, 48)[0])
    assert 0 not in labels(take(data, 5))


def test_nothing_but_unreadable_images_is_an_error(data, monkeypatch):
    monkeypatch.setattr(labelled_stream, "MAX_MISSES", 3)
    for image in data.images:
        image.path.write_bytes(b"")
    with pytest.raises(ConfigError, match=r"3 images in a row cannot be decoded, as .*\.png"):
        take(data, 1)


@pytest.mark.parametrize("square", [0, 32, 100])
def test_an_impossible_square_is_refused(square):
    with pytest.raises(ConfigError, match=r"must be (a multiple of 32|at least 64)"):
        spec(square=square)
