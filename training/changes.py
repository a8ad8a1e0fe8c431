"""The `changes` command: tables for coding frames against earlier ones, from clips, put into a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splitnet.bundle import load_device, replace_change_tables
from splitnet.errors import ConfigError
from splitnet.extras import progress
from splitnet.manifest import Manifest
from splitnet.settings import count, option
from training.change_tables import ChangeCounts
from training.command import Command, written
from training.data.clips import Image, pan, video_frames
from training.data.images import find_images, read_image

HYSTERESIS = 0.25  # of a step; chosen by bytes against fidelity (docs/video.md)


@dataclass(frozen=True)
class ChangesSettings:
    """Which bundle gets tables, and from which clips."""

    bundle: Path = option("the bundle that gets the tables, in place", metavar="DIR")
    clips: Sequence[Path] = option("videos like those it will see", metavar="FILE", nargs="+")
    images: Sequence[Path] = option("folders of images, for pans over them", default=(), metavar="DIR", nargs="+")
    pans: int = option("pans over images, at most", default=100, type=count)
    fps: float = option("frames a second that are taken of a clip, about", default=10.0)
    clip_frames: int = option("frames of a clip, at most", default=300, type=count)
    seed: int = option("of the pans", default=0)
    threads: int = option("CPU threads", default=1, type=count)

    def __post_init__(self) -> None:
        """Raise ConfigError on numbers that cannot be."""
        if not self.fps > 0 or self.clip_frames < 2:
            raise ConfigError("--fps must be positive, --clip-frames at least 2")


def fit_changes(settings: ChangesSettings) -> Manifest:
    """Fit the tables and write them into the bundle; returns its manifest. ConfigError on whatever is wrong.

    The bundle's digest changes with its tables: devices and server need the new one.
    """
    bundle = load_device(settings.bundle)
    counts = ChangeCounts(bundle.encoder, bundle.codec.model.likeliest, HYSTERESIS)
    for clip in progress(list(_sources(settings)), unit="clip", desc="changes"):
        frames = _frames(clip, settings)
        for width in range(1, bundle.manifest.widths + 1):
            canvases = (bundle.manifest.fit(frame.shape[1], frame.shape[0], width).apply(frame) for frame in frames)
            latents = [bundle.encoder.latent(canvas, width) for canvas in canvases]
            counts.add(latents, width)
    return replace_change_tables(settings.bundle, counts.fit())


def _sources(settings: ChangesSettings) -> Iterator[tuple[Path, int]]:
    """Yield each clip's file, and for a pan its number, from 1."""
    yield from ((path, 0) for path in settings.clips)
    if settings.images:
        images = find_images(settings.images)
        every = -(-len(images) // settings.pans)
        yield from ((path, number) for number, path in enumerate(images[::every], start=1))


def _frames(clip: tuple[Path, int], settings: ChangesSettings) -> list[Image]:
    path, number = clip
    if not number:
        return video_frames(path, settings.fps, settings.clip_frames)
    image = read_image(path)
    return [] if image is None else list(pan(image, np.random.default_rng((settings.seed, number))))


def _run(settings: ChangesSettings) -> str:
    return written(settings.bundle, fit_changes(settings))


COMMAND = Command(
    "changes", "fit the tables that code a frame against an earlier one, on videos", ChangesSettings, _run
)
