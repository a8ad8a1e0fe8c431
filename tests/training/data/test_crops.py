"""Crops: how they are cut, the same for a step whoever asks, and threads that end."""

from __future__ import annotations

import itertools
import logging
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from splitnet.errors import ConfigError
from splitnet.letterbox import LATENT_STRIDE, PADDING_VALUE
from training.data import crops
from training.data.crops import CropSpec, CropStream, canvas_shape, crop, on_grey_square
from training.data.images import find_images

SPEC = CropSpec(square=64, input_size=64)


def write_image(path: Path, height: int = 80, width: int = 96, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert cv2.imwrite(str(path), noise)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(4):
        write_image(tmp_path / "images" / f"{i}.png", seed=i)
    return tmp_path / "images"


@pytest.mark.parametrize("shape", [(480, 640), (640, 480), (64, 64), (30, 900), (1000, 70)])
def test_a_crop_has_the_shape_of_its_canvas(shape):
    photo = np.zeros((*shape, 3), np.uint8)
    for seed in range(10):
        cut = crop(photo, SPEC, (48, 64), np.random.default_rng(seed))
        assert cut.shape == (48, 64, 3)
        assert cut.dtype == np.uint8


def test_a_crop_is_grey_where_the_image_does_not_reach():
    spec = CropSpec(square=64, input_size=32, min_scale=0.99, max_scale=1.0)
    black = np.zeros((100, 200, 3), np.uint8)
    cut = crop(black, spec, (64, 64), _without_jitter(spec))
    assert cut[0, 0].tolist() == [0, 0, 0]
    assert (cut[20:] == PADDING_VALUE).all()  # 200 x 100 pixels became about 32 x 16
    assert (cut[:, 40:] == PADDING_VALUE).all()


def _without_jitter(spec: CropSpec) -> np.random.Generator:
    """Return a generator whose next crop keeps its colours."""
    for seed in range(100):
        grey = np.full((64, 64, 3), 200, np.uint8)
        if crop(grey, spec, (16, 16), np.random.default_rng(seed))[0, 0].tolist() == [200, 200, 200]:
            return np.random.default_rng(seed)
    raise AssertionError("every seed changes the colours")


def test_crops_show_many_scales_and_places():
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (256, 256, 3))
    cuts = [crop(ramp, SPEC, (64, 64), np.random.default_rng(seed)) for seed in range(20)]
    assert len({cut.tobytes() for cut in cuts}) == 20


def test_a_canvas_touches_the_square_and_fits_the_latent():
    rng = np.random.default_rng(0)
    shapes = {canvas_shape(SPEC, rng) for _ in range(200)}
    assert shapes == {(64, 64), (48, 64), (64, 48)}
    assert all(side % LATENT_STRIDE == 0 for shape in shapes for side in shape)


def test_stretched_images_fill_square_canvases_at_scale_one():
    spec = CropSpec(square=64, input_size=64, min_scale=1.0, max_scale=1.0, max_enlargement=4.0, stretches=True)
    rng = np.random.default_rng(0)
    assert {canvas_shape(spec, rng) for _ in range(20)} == {(64, 64)}
    image = np.full((30, 120, 3), 250, np.uint8)  # four times as wide as high
    grey = [(crop(image, spec, (64, 64), rng) == PADDING_VALUE).mean() for _ in range(20)]
    assert max(grey) < 0.2  # what its shape is varied by


@pytest.mark.parametrize("square", [0, -32, 31, 48, 100])
def test_a_square_that_no_detector_takes_is_refused(square):
    with pytest.raises(ConfigError, match="multiple of 32"):
        CropSpec(square=square)


@pytest.mark.parametrize("scales", [(0.0, 1.0, 1.0), (1.2, 1.0, 1.0), (0.5, 1.0, 0.0)])
def test_scales_without_an_order_are_refused(scales):
    with pytest.raises(ConfigError, match="must be positive, the smallest first"):
        CropSpec(64, 64, *scales)


def test_a_small_image_is_not_blown_up():
    rng = np.random.default_rng(0)
    spec = CropSpec(square=256, input_size=416, max_enlargement=1.0)
    found = crop(np.zeros((64, 80, 3), np.uint8), spec, (256, 256), rng)
    rows, columns = np.nonzero((found != PADDING_VALUE).any(axis=2))
    assert rows.max() < 64 * 1.11 and columns.max() < 80 * 1.11  # but for a little stretch


def test_a_canvas_lies_at_the_top_left_of_a_grey_square():
    batch = np.random.default_rng(0).integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
    canvas, square = on_grey_square(batch, 64, torch.device("cpu"))
    assert canvas.shape == (2, 3, 48, 64)
    assert square.shape == (2, 3, 64, 64)
    assert torch.equal(canvas, torch.from_numpy(batch).permute(0, 3, 1, 2).float())
    assert torch.equal(square[:, :, :48], canvas)
    assert (square[:, :, 48:] == PADDING_VALUE).all()


def first_batches(
    paths: list[Path], count: int = 4, seed: int = 0, threads: int = 1, first_step: int = 0
) -> list[np.ndarray]:
    with CropStream(paths, SPEC, 3, seed, threads, first_step) as stream:
        return list(itertools.islice(stream, count))


def test_a_stream_gives_batches_of_one_shape_each(folder):
    batches = first_batches(find_images([folder]), count=12)
    shapes = {batch.shape for batch in batches}
    assert shapes <= {(3, 64, 64, 3), (3, 48, 64, 3), (3, 64, 48, 3)}
    assert len(shapes) > 1
    assert all(batch.dtype == np.uint8 for batch in batches)


def test_a_seed_cuts_the_same_crops_again(folder):
    paths = find_images([folder])
    ours, again, other = first_batches(paths), first_batches(paths), first_batches(paths, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(ours, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(ours, other, strict=True))


def test_every_step_has_crops_of_its_own_whoever_cuts_them(folder):
    paths = find_images([folder])
    alone, together = (first_batches(paths, count=8, threads=threads) for threads in (1, 3))
    assert len({batch.tobytes() for batch in alone}) == 8
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_a_stream_goes_on_with_the_crops_of_the_next_step(folder):
    paths = find_images([folder])
    whole, rest = first_batches(paths, count=6), first_batches(paths, count=3, first_step=3)
    assert all(np.array_equal(a, b) for a, b in zip(whole[3:], rest, strict=True))


def test_unreadable_and_tiny_images_are_skipped_with_a_warning(folder, caplog):
    (folder / "broken.png").write_bytes(b"\x89PNG but no more")
    write_image(folder / "tiny.png", 40, 400)
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    paths = find_images([folder])
    assert len(paths) == 7
    with caplog.at_level(logging.WARNING):
        batches = first_batches(paths, count=20)
    assert len(batches) == 20
    for name in ("broken.png", "tiny.png", "gone.png"):
        assert any(name in message and "skipped" in message for message in caplog.messages)


def test_a_stream_without_a_single_readable_image_ends_with_an_error(folder, monkeypatch):
    monkeypatch.setattr(crops, "MAX_MISSES", 5)
    paths = find_images([folder])
    for path in paths:
        path.write_bytes(b"no image")
    with CropStream(paths, SPEC, 2, seed=0) as stream, pytest.raises(ConfigError, match="5 images in a row"):
        next(iter(stream))


def test_whatever_breaks_in_a_thread_breaks_where_the_batches_are_read(folder, monkeypatch):
    def broken(*_: object) -> np.ndarray:
        raise MemoryError("no room for a crop")

    monkeypatch.setattr(crops, "crop", broken)
    with CropStream(find_images([folder]), SPEC, 2, seed=0) as stream, pytest.raises(MemoryError):
        next(iter(stream))


def running() -> int:
    return sum(thread.name.startswith("batches") for thread in threading.enumerate())


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_stopping_ends_the_threads_and_the_batches(folder, taken):
    stream = CropStream(find_images([folder]), SPEC, 2, seed=0, threads=3)
    batches = iter(stream)
    for _ in range(taken):
        next(batches)
    assert running() == (3 if taken else 0)
    stream.stop()
    assert running() == 0
    with pytest.raises(StopIteration):
        next(batches)
    stream.stop()  # a second time does no harm


@pytest.mark.parametrize(("images", "batch_size", "threads"), [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1, -2, 1)])
def test_a_stream_with_nothing_to_do_is_refused(folder, images, batch_size, threads):
    paths = find_images([folder])[:images]
    with pytest.raises(ConfigError, match="too few"):
        CropStream(paths, SPEC, batch_size, seed=0, threads=threads)
