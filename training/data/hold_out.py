"""Images to evaluate on, held out so that no neighbour of them is trained on: blocks of names, or whole videos."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from splitnet.errors import ConfigError
from splitnet.extras import progress
from training.data.images import read_image
from training.data.label_folders import ConvertedImage

DIGITS = re.compile(r"(\d+)")
BLOCK = 10  # consecutive images by name that stay together
THUMBNAIL_SIDE = 8  # pixels
# Between frames of a video thumbnails differ by a few grey levels, in the mean of their values; a cut is beyond.
CUT_LEVELS = 15.0
MIN_VIDEO = 30  # images; what lies between closer cuts is a flash or a jolt within a video

Halves = tuple[list[ConvertedImage], list[ConvertedImage]]


def hold_out_blocks(images: Sequence[ConvertedImage], share: float) -> Halves:
    """Return images to train on and images to evaluate on, about `share` of all.

    Whole blocks of neighbours by name are held out: the next frame of a video would give the answer away.
    """
    every = round(1 / share)
    ordered = _by_name(images)
    block = max(1, min(BLOCK, len(ordered) // (2 * every)))
    held = [(i // block) % every == every - 1 for i in range(len(ordered))]
    kept = [p for p, out in zip(ordered, held, strict=True) if not out]
    return kept, [p for p, out in zip(ordered, held, strict=True) if out]


def hold_out_videos(images: Sequence[ConvertedImage], folder: Path, share: float) -> Halves:
    """Return images to train on and images to evaluate on: whole videos, about `share` of each class.

    The images are frames, numbered by their names. A class of which there is one video only stays with those to
    train on. ConfigError if there are not at least two videos.
    """
    ordered = _by_name(images)
    thumbnails = (
        thumbnail(folder / image.name) for image in progress(ordered, desc="cuts", unit="image", disable=None)
    )
    videos = [ordered[start:stop] for start, stop in find_videos(thumbnails)]
    if len(videos) < 2:
        raise ConfigError(
            f"{folder} does not look like several videos, one after the other by name: hold out blocks instead"
        )
    held = choose_videos(videos, share)
    kept = [image for i, video in enumerate(videos) if i not in held for image in video]
    return kept, [image for i in sorted(held) for image in videos[i]]


def thumbnail(path: Path) -> NDArray[np.float32]:
    """Return an image as (8, 8, 3) means, or as grey if it is unreadable."""
    image = read_image(path)
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    if image is None:
        return np.full((*side, 3), 128, np.float32)
    return cv2.resize(image, side, interpolation=cv2.INTER_AREA).astype(np.float32)


def find_videos(thumbnails: Iterable[NDArray[np.float32]]) -> list[tuple[int, int]]:
    """Return where each video starts and where it stops, the stop not included, given one frame or more in order."""
    differences = [np.abs(other - one).mean() for one, other in pairwise(thumbnails)]
    jumps = [i for i, levels in enumerate(differences, start=1) if levels > CUT_LEVELS]
    end = len(differences) + 1
    edges = [0, *jumps, end]
    # Frames after a flash are of the video before it: a jump close to another one is no cut.
    cuts = [at for i, at in enumerate(jumps, 1) if min(at - edges[i - 1], edges[i + 1] - at) >= MIN_VIDEO]
    return list(zip([0, *cuts], [*cuts, end], strict=True))


def choose_videos(videos: Sequence[Sequence[ConvertedImage]], share: float) -> set[int]:
    """Return which videos to hold out: of each class about a share of its images, and never the last of its videos.

    The classes with the fewest videos choose first, each time the video that comes nearest to what is missing, and
    one at least unless it has more than half of the class.
    """
    counts = [Counter(name for image in video for name in _classes(image)) for video in videos]
    videos_of = Counter(name for count in counts for name in count)
    held: set[int] = set()
    for name in sorted(videos_of, key=lambda name: (videos_of[name], name)):
        total = sum(count[name] for count in counts)
        while free := [i for i in _spare(counts, held) if 0 < counts[i][name] <= total / 2]:
            missing = share * total - sum(counts[i][name] for i in held)
            nearest = min(free, key=lambda i: abs(missing - counts[i][name]))
            if any(counts[i][name] for i in held) and abs(missing - counts[nearest][name]) >= missing:
                break
            held.add(nearest)
    return held


def _spare(counts: Sequence[Counter[str]], held: set[int]) -> list[int]:
    """Return the videos of whose classes others are left to train on."""
    left = [i for i in range(len(counts)) if i not in held]
    videos_of = Counter(name for i in left for name in counts[i])
    return [i for i in left if all(videos_of[name] > 1 for name in counts[i])]


def _classes(image: ConvertedImage) -> set[str]:
    return {name for name, _ in image.objects} or {""}


def _by_name(images: Sequence[ConvertedImage]) -> list[ConvertedImage]:
    """Return images in the order of their names, frame 10 after frame 9."""
    return sorted(images, key=lambda image: [int(x) if x.isdecimal() else x for x in DIGITS.split(image.name)])
