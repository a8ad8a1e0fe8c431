"""The files below a folder, linked folders included, in the order of the numbers in their names; and their text."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from splitnet.image_file import IMAGE_SUFFIXES, natural_order

# Images that nothing here reads: they are said, and not passed over.
OTHER_IMAGE_SUFFIXES = frozenset({".avif", ".dng", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jxl", ".pgm", ".ppm"})
_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_DECLARED = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)["']""")


def files_below(folder: Path) -> list[Path]:
    """Return all files below a folder; a link that leads back to a folder around it is not followed."""
    found = _files(folder, frozenset())
    return sorted(found, key=lambda path: [natural_order(Path(part)) for part in path.relative_to(folder).parts])


def images_below(folder: Path) -> list[Path]:
    """Return the files below a folder that are named like images that can be read."""
    return [path for path in files_below(folder) if is_image(path)]


def is_image(path: Path) -> bool:
    """Return whether a file is named like an image that can be read."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def is_other_image(path: Path) -> bool:
    """Return whether a file is named like an image of a kind that is not read."""
    return path.suffix.lower() in OTHER_IMAGE_SUFFIXES


def _files(folder: Path, around: frozenset[tuple[int, int]]) -> Iterator[Path]:
    status = folder.stat()
    inside = around | {(status.st_dev, status.st_ino)}
    with os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            if entry.is_dir():
                own = path.stat()
                if (own.st_dev, own.st_ino) not in inside:
                    yield from _files(path, inside)
            elif entry.is_file() or entry.is_symlink():  # a link to nowhere is a file that is missing
                yield path


def read_text(path: Path, max_bytes: int) -> str:
    """Return a text in the encoding that its byte order mark or XML declaration names, or else in UTF-8.

    ValueError, which says why, if it is none or too large; OSError if it cannot be read.
    """
    if path.stat().st_size > max_bytes:
        raise ValueError(f"over {max_bytes} bytes")
    data = path.read_bytes()
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), None)
    if encoding is None:
        declared = _DECLARED.match(data)
        encoding = declared[1].decode() if declared else "utf-8"
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise ValueError(f"not text in {encoding}") from error
