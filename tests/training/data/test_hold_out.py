"""Blocks of neighbours and whole videos are held out, of every class its share."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from splitnet.errors import ConfigError
from training.data.hold_out import (
    CUT_LEVELS,
    MIN_VIDEO,
    choose_videos,
    find_videos,
    hold_out_blocks,
    hold_out_videos,
    thumbnail,
)
from training.data.label_folders import ConvertedImage

BOX = (1.0, 1.0, 5.0, 5.0)


def frames(count: int, *classes: str, first: int = 0) -> list[ConvertedImage]:
    objects = tuple((name, BOX) for name in classes)
    return [ConvertedImage(f"{i:04}.png", 20, 20, objects) for i in range(first, first + count)]


def film(*shots: tuple[int, float]) -> list[np.ndarray]:
    """Return thumbnails: so many frames of a grey, then so many of the next."""
    return [np.full((8, 8, 3), level, np.float32) for count, level in shots for _ in range(count)]


def test_whole_blocks_of_neighbours_are_held_out():
    kept, held = hold_out_blocks(frames(100)[::-1], 0.2)
    assert [p.name for p in held] == [f"{i:04}.png" for i in (*range(40, 50), *range(90, 100))]
    assert len(kept) == 80


def test_numbers_in_names_are_counted_not_spelt():
    images = [ConvertedImage(f"clip 2/frame {i}.png", 20, 20, ()) for i in range(1, 101)]
    _, held = hold_out_blocks(sorted(images, key=lambda image: image.name), 0.2)
    assert held == [*images[40:50], *images[90:100]]


@pytest.mark.parametrize("count", [2, 5, 11, 30, 200])
def test_of_every_pair_about_the_share_is_held_out(count):
    kept, held = hold_out_blocks(frames(count), 0.2)
    assert len(kept) + len(held) == count
    assert abs(len(held) - 0.2 * count) <= max(1, 0.1 * count)


def test_a_jump_in_the_image_begins_a_video():
    assert find_videos(film((40, 10), (50, 10 + CUT_LEVELS + 1), (30, 90))) == [(0, 40), (40, 90), (90, 120)]
    assert find_videos(film((40, 10), (50, 10 + CUT_LEVELS))) == [(0, 90)]


def test_a_flash_is_no_cut():
    assert find_videos(film((60, 10), (1, 255), (60, 10))) == [(0, 121)]
    assert find_videos(film((MIN_VIDEO - 1, 10), (60, 90))) == [(0, 59 + MIN_VIDEO)]
    assert find_videos(film((MIN_VIDEO, 10), (60, 90))) == [(0, MIN_VIDEO), (MIN_VIDEO, 60 + MIN_VIDEO)]


def test_images_without_likeness_are_one_video_and_a_single_one_too():
    assert find_videos(film(*((1, 40 * (i % 3)) for i in range(90)))) == [(0, 90)]
    assert find_videos(film((1, 10))) == [(0, 1)]


def test_the_video_nearest_to_the_share_is_held_out_of_each_class():
    videos = [frames(n, name) for n, name in ((100, "ant"), (20, "ant"), (60, "ant"), (70, "bee"), (110, "bee"))]
    assert choose_videos(videos, 0.2) == {1, 3}  # 20 of 180 are nearer to 36 than 60; of bees one in any case
    assert choose_videos(videos, 0.4) == {1, 2, 3}  # 60 of 72, and 80 are nearer


def test_the_last_video_of_a_class_stays_to_train_on():
    assert choose_videos([frames(9, "ant"), frames(9, "bee")], 0.5) == set()
    assert choose_videos([frames(50, "ant"), frames(10, "ant", "bee")], 0.2) == set()
    assert choose_videos([frames(50, "ant"), frames(10, "ant", "bee"), frames(5, "bee")], 0.2) == {1}


def test_videos_without_objects_are_held_out_as_well():
    assert choose_videos([frames(50, "ant"), frames(10, "ant"), frames(40), frames(9)], 0.2) == {1, 3}


@given(
    st.lists(st.tuples(st.integers(1, 20), st.sets(st.sampled_from("abcd"))), min_size=1, max_size=12),
    st.floats(0.01, 0.5),
)
def test_every_class_stays_in_training(shots, share):
    videos = [frames(count, *sorted(classes)) for count, classes in shots]
    held = choose_videos(videos, share)
    classes = set().union(*(names for _, names in shots))
    assert classes == set().union(*(names for i, (_, names) in enumerate(shots) if i not in held))


def test_whole_videos_are_held_out_of_real_files(tmp_path):
    levels = {"ant": 20, "bee": 120}
    images = []
    for i, (name, shade) in enumerate([("ant", 0), ("bee", 0), ("ant", 60), ("bee", 60)]):
        for image in frames(30, name, first=30 * i):
            Image.new("RGB", (20, 20), (levels[name] + shade,) * 3).save(tmp_path / image.name)
            images.append(image)
    kept, held = hold_out_videos(images[::-1], tmp_path, 0.5)
    assert [p.name for p in held] == [f"{i:04}.png" for i in range(60)]
    assert [p.name for p in kept] == [f"{i:04}.png" for i in range(60, 120)]


def test_a_single_video_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"does not look like several videos.*: hold out blocks instead"):
        hold_out_videos(frames(3), tmp_path, 0.2)


def test_an_unreadable_image_is_grey(tmp_path):
    assert thumbnail(tmp_path / "nowhere.png").shape == (8, 8, 3)
    assert (thumbnail(tmp_path / "nowhere.png") == 128).all()
