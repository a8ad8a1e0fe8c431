"""The files and folders that a run writes: looked at before it begins, so that nothing is lost at its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from splitnet.errors import ConfigError


def check_places(places: Mapping[str, Path], source: Path | None) -> None:
    """Raise ConfigError if two of the places, by their options, are one, or one is the source, or cannot be written."""
    taken = {} if source is None else {source.resolve(): "--source"}
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
