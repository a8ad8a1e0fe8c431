"""Images and what a bundle's full front makes of them, kept on disk: each is looked at many times."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor

from splitnet.atomic_write import write_json
from splitnet.bundle import DeviceBundle
from splitnet.extras import progress
from splitnet.groups.part_kinds import DEVIATION
from splitnet.letterbox import PADDING_VALUE
from training.data.images import read_image

IMAGES, LATENTS, DONE = "images.npy", "latents.npy", "samples.json"


class FrontSamples(NamedTuple):
    """Halved canvases (N, 3, S/2, S/2) uint8, and latents (N, C, S/16, S/16) float16."""

    images: NDArray[np.uint8]
    latents: NDArray[np.float16]

    def batch(self, chosen: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return images, normalised as `ThinFront` does it, and latents of some, as float32."""
        images = torch.from_numpy(np.asarray(self.images[chosen], np.float32))
        return (images - PADDING_VALUE) / DEVIATION, torch.from_numpy(np.asarray(self.latents[chosen], np.float32))


def front_samples(folder: Path, bundle: DeviceBundle, images: Sequence[Path]) -> FrontSamples:
    """Return the samples of images, from the folder if it holds those of this bundle and these images already."""
    described = {"bundle": bundle.manifest.digest, "images": [path.name for path in images]}
    done, side = folder / DONE, bundle.manifest.input_size
    if not done.exists() or _read(done) != described:
        folder.mkdir(parents=True, exist_ok=True)
        done.unlink(missing_ok=True)
        _fill(folder, bundle, images, side)
        write_json(done, described)
    return FrontSamples(np.load(folder / IMAGES, mmap_mode="r"), np.load(folder / LATENTS, mmap_mode="r"))


def _fill(folder: Path, bundle: DeviceBundle, images: Sequence[Path], side: int) -> None:
    manifest, width = bundle.manifest, bundle.manifest.widths
    shape = (len(images), *manifest.latent_size)
    halved = open_memmap(folder / IMAGES, "w+", np.uint8, (len(images), 3, side // 2, side // 2))
    latents = open_memmap(folder / LATENTS, "w+", np.float16, shape)
    halved[:] = PADDING_VALUE
    for number, path in enumerate(progress(images, unit="image")):
        image = read_image(path)
        if image is None:
            continue
        canvas = manifest.fit(image.shape[1], image.shape[0], width).apply(image)
        rows, columns = canvas.shape[0] // 2, canvas.shape[1] // 2
        means = canvas.reshape(rows, 2, columns, 2, 3).mean((1, 3))
        halved[number, :, :rows, :columns] = np.rint(means).astype(np.uint8).transpose(2, 0, 1)
        latent = np.asarray(bundle.encoder.latent(canvas, width))
        latents[number, :, : latent.shape[1], : latent.shape[2]] = latent
    halved.flush()
    latents.flush()


def _read(path: Path) -> object:
    return json.loads(path.read_text("utf-8"))
