"""The files and folders that a run writes: looked at before it begins, so that nothing is lost at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from splitnet.errors import ConfigError


def check_places(places: Mapping[str, Path], sources: Sequence[Path]) -> None:
    """Raise ConfigError if two of the places, by their options, are one, or one is a source, or cannot be written."""
    taken = {source.resolve(): "--source" for source in sources}
    for option, path in places.items():
        place = path.resolve()
        if place.exists() and not (place.is_file() or place.is_dir()):
            continue  # a device or a pipe may take more than one
        if place in taken:
            raise ConfigError(f"{option} {path} is the place of {taken[place]}; choose another one")
        taken[place] = option


def check_writable(option: str, path: Path) -> None:
    """Raise ConfigError if a file cannot be written; makes it if it is not there."""
    try:
        path.open("ab").close()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}); choose another {option}") from error


def place_of_camera(path: Path, camera: str) -> Path:
    """Return the place of one of several cameras: "boxes-yard.mp4" for a file, "boxes/yard" for a folder."""
    return path.with_name(f"{path.stem}-{camera}{path.suffix}") if path.suffix else path / camera
