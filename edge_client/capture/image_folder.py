"""The images of a folder, or a single one, as a source."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from edge_client.capture.source import SourceImage, Wait
from edge_client.frames import Image
from splitnet.errors import ImageFileError, SourceError
from splitnet.image_file import IMAGE_SUFFIXES, images_in, read_image
from splitnet.messages import MAX_FRAME_SIDE

logger = logging.getLogger(__name__)


class ImageFolderSource:
    """Images in a given order. Unreadable ones are counted and passed over."""

    finite = True

    def __init__(self, paths: Sequence[Path], fps: float) -> None:
        self.fps = fps
        self.unreadable = 0
        self._paths = paths

    def images(self, wait: Wait) -> Iterator[SourceImage]:
        """Yield the readable images; raise SourceError if there was none among them."""
        shown = 0
        for path in self._paths:
            try:
                image = _frame(path)
            except ImageFileError as error:
                self.unreadable += 1
                logger.warning("%s: not an image that can be read (%s), passed over", path, error)
                continue
            yield SourceImage(shown / self.fps, image, path.name)
            shown += 1
        if shown == 0:
            raise SourceError(f"none of the images can be read ({len(self._paths)} tried)")


def open_folder(folder: Path, fps: float) -> ImageFolderSource:
    """Return the images of a folder, in the order of the numbers in their names. Raises SourceError."""
    try:
        paths = images_in(folder)
    except OSError as error:
        raise SourceError(f"{folder}: the folder cannot be read ({error.strerror})") from error
    if not paths:
        raise SourceError(f"{folder}: no images in this folder ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return ImageFolderSource(paths, fps)


def _frame(path: Path) -> Image:
    image = read_image(path)
    if max(image.shape[:2]) > MAX_FRAME_SIDE:
        raise ImageFileError(f"over {MAX_FRAME_SIDE} pixels a side")
    return image
