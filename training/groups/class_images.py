"""Small labelled images: a folder of folders, or a tar archive of such, each named after its class."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import torch
from torch import Tensor

from splitnet.errors import ConfigError
from splitnet.extras import progress

SIDE = 32  # pixels
MAX_IMAGES = 200_000
MAX_FILE_BYTES = 1_000_000  # of an image of so few pixels
SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, eq=False)
class ClassImages:
    """Images (N, 3, 32, 32) uint8, BGR, with their labels (N,), ordered by name."""

    pixels: Tensor
    labels: Tensor
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def some(self, count: int, seed: int = 0) -> ClassImages:
        """Return so many of the images, drawn at random; all if there are no more."""
        if count >= len(self):
            return self
        chosen = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:count]
        return ClassImages(self.pixels[chosen], self.labels[chosen], self.class_names)


def read_class_images(path: Path) -> ClassImages:
    """Read the images of a folder or a tar archive; those of another size are scaled to 32x32.

    ConfigError if there are none, fewer than two classes, or an image that cannot be read.
    """
    names: list[tuple[str, str]] = []
    pixels: list[np.ndarray] = []
    for name, data in progress(_files(path), unit="image", desc=path.name):
        names.append((PurePosixPath(name).parent.name, name))
        pixels.append(_decoded(data, f"{path}: {name}"))
        if len(names) > MAX_IMAGES:
            raise ConfigError(f"{path} has over {MAX_IMAGES} images: give fewer")
    classes = tuple(sorted({one for one, _ in names}))
    if len(classes) < 2:
        raise ConfigError(f"{path} has images of {len(classes)} classes: they must lie in a folder for each class")
    order = sorted(range(len(names)), key=lambda index: names[index])
    stacked = torch.from_numpy(np.stack([pixels[index] for index in order])).permute(0, 3, 1, 2).contiguous()
    return ClassImages(stacked, torch.tensor([classes.index(names[index][0]) for index in order]), classes)


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    if path.is_dir():
        yield from _files_of_folder(path)
    else:
        yield from _files_of_archive(path)


def _files_of_folder(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(path.glob("*/*")):
        if file.suffix.lower() in SUFFIXES and file.is_file():
            if file.stat().st_size > MAX_FILE_BYTES:
                raise ConfigError(f"{file} is over {MAX_FILE_BYTES} bytes: not an image of {SIDE}x{SIDE} pixels")
            yield str(file.relative_to(path)), file.read_bytes()


def _files_of_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if not member.isfile() or not member.name.lower().endswith(SUFFIXES):
                    continue
                if member.size > MAX_FILE_BYTES:
                    raise ConfigError(f"{path}: {member.name} is over {MAX_FILE_BYTES} bytes")
                content = archive.extractfile(member)
                assert content is not None  # it is a file
                yield member.name, content.read()
    except (OSError, tarfile.TarError, EOFError) as error:
        raise ConfigError(f"{path} is neither a folder nor a tar archive of images ({error})") from error


def _decoded(data: bytes, name: str) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None:
        raise ConfigError(f"{name} cannot be read as an image; remove it")
    return image if image.shape == (SIDE, SIDE, 3) else cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
