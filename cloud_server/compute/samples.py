"""Frames to judge and time a bundle with: real images if there are any, synthetic ones if not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloud_server.compute.decoded_frame import DecodedFrame
from splitnet.bundle import load_device
from splitnet.errors import ConfigError, ImageFileError
from splitnet.image_file import images_in, read_image
from splitnet.operating_point import Codec, Mode, OperatingPoint
from splitnet.synthetic_images import synthetic_images

SYNTHETIC = 8

Samples = Mapping[Mode, Sequence[DecodedFrame]]


def samples(bundle: Path, images: Path | None, most: int) -> Samples:
    """Return frames as the server has them when decoded: features of full width and best quality, and canvases.

    images: a folder. Raises BundleError, and ConfigError if the folder has no image that can be read.
    """
    device = load_device(bundle)
    width, quality = device.manifest.widths, device.manifest.qualities - 1
    split: list[DecodedFrame] = []
    canvases: list[DecodedFrame] = []
    for image in synthetic_images(min(most, SYNTHETIC)) if images is None else _read(images, most):
        of_split, of_image = (device.manifest.fit(image.shape[1], image.shape[0], each) for each in (width, 0))
        symbols = device.encoder.encode(of_split.apply(image), width, quality)
        split.append(DecodedFrame(symbols, OperatingPoint(Codec.RANS, width, quality), of_split))
        canvases.append(DecodedFrame(of_image.apply(image), OperatingPoint(Codec.JPEG, 0, 0), of_image))
    return {Mode.SPLIT: split, Mode.IMAGE: canvases}


def _read(folder: Path, most: int) -> list[NDArray[np.uint8]]:
    read = list(islice(_readable(folder), most))
    if not read:
        raise ConfigError(f"{folder} holds no image that can be read: give a folder of JPEG or PNG files")
    return read


def _readable(folder: Path) -> Iterator[NDArray[np.uint8]]:
    for path in images_in(folder) if folder.is_dir() else []:
        with suppress(ImageFileError):
            yield read_image(path)
