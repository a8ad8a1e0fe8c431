"""Pictures to evaluate on, held out so that no neighbour of them is trained on: blocks of names, or whole videos."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from splitnet.errors import ConfigError
from training.data.images import read_photograph
from training.data.label_folders import ConvertedPicture

DIGITS = re.compile(r"(\d+)")
BLOCK = 10  # consecutive pictures by name that stay together
THUMBNAIL_SIDE = 8  # pixels
# Between frames of a video thumbnails differ by a few grey levels, in the mean of their values; a cut is beyond.
CUT_LEVELS = 15.0
MIN_VIDEO = 30  # pictures; what lies between closer cuts is a flash or a jolt within a video

Halves = tuple[list[ConvertedPicture], list[ConvertedPicture]]


def hold_out_blocks(pictures: Sequence[ConvertedPicture], share: float) -> Halves:
    """Return pictures to train on and pictures to evaluate on, about `share` of all.

    Whole blocks of neighbours by name are held out: the next frame of a video would give the answer away.
    """
    every = round(1 / share)
    ordered = _by_name(pictures)
    block = max(1, min(BLOCK, len(ordered) // (2 * every)))
    held = [(i // block) % every == every - 1 for i in range(len(ordered))]
    kept = [p for p, out in zip(ordered, held, strict=True) if not out]
    return kept, [p for p, out in zip(ordered, held, strict=True) if out]


def hold_out_videos(pictures: Sequence[ConvertedPicture], images: Path, share: float) -> Halves:
    """Return pictures to train on and pictures to evaluate on: whole videos, about `share` of each class.

    The pictures are frames, numbered by their names. A class of which there is one video only stays with those to
    train on. ConfigError if there are not at least two videos.
    """
    ordered = _by_name(pictures)
    thumbnails = (thumbnail(images / picture.name) for picture in tqdm(ordered, "cuts", unit="picture", disable=None))
    videos = [ordered[start:stop] for start, stop in find_videos(thumbnails)]
    if len(videos) < 2:
        raise ConfigError(
            f"{images} does not look like several videos, one after the other by name: hold out blocks instead"
        )
    held = choose_videos(videos, share)
    kept = [picture for i, video in enumerate(videos) if i not in held for picture in video]
    return kept, [picture for i in sorted(held) for picture in videos[i]]


def thumbnail(path: Path) -> NDArray[np.float32]:
    """Return a picture as (8, 8, 3) means, or as grey if it is unreadable."""
    picture = read_photograph(path)
    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    if picture is None:
        return np.full((*side, 3), 128, np.float32)
    return cv2.resize(picture, side, interpolation=cv2.INTER_AREA).astype(np.float32)


def find_videos(thumbnails: Iterable[NDArray[np.float32]]) -> list[tuple[int, int]]:
    """Return where each video starts and where it stops, the stop not included, given one frame or more in order."""
    differences = [np.abs(other - one).mean() for one, other in pairwise(thumbnails)]
    jumps = [i for i, levels in enumerate(differences, start=1) if levels > CUT_LEVELS]
    end = len(differences) + 1
    edges = [0, *jumps, end]
    # Frames after a flash are of the video before it: a jump close to another one is no cut.
    cuts = [at for i, at in enumerate(jumps, 1) if min(at - edges[i - 1], edges[i + 1] - at) >= MIN_VIDEO]
    return list(zip([0, *cuts], [*cuts, end], strict=True))


def choose_videos(videos: Sequence[Sequence[ConvertedPicture]], share: float) -> set[int]:
    """Return which videos to hold out: of each class about a share of its pictures, and never the last of its videos.

    The classes with the fewest videos choose first, each time the video that comes nearest to what is missing, and
    one at least unless it has more than half of the class.
    """
    counts = [Counter(name for picture in video for name in _classes(picture)) for video in videos]
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


def _classes(picture: ConvertedPicture) -> set[str]:
    return {name for name, _ in picture.objects} or {""}


def _by_name(pictures: Sequence[ConvertedPicture]) -> list[ConvertedPicture]:
    """Return pictures in the order of their names, frame 10 after frame 9."""
    return sorted(pictures, key=lambda picture: [int(x) if x.isdecimal() else x for x in DIGITS.split(picture.name)])
