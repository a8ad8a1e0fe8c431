"""A command of `python -m training`: each is a module of its name with one of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitnet.manifest import Manifest


@dataclass(frozen=True)
class Command:
    """A command: its name, what it does, what it can be told, and the function that does it.

    `run` returns what is said at the end, by the first of several processes.
    """

    name: str
    text: str
    settings: type[Any]
    run: Callable[[Any], str]


def written(folder: Path, manifest: Manifest) -> str:
    """Return what is said of a new bundle."""
    return f"wrote {folder} ({manifest.digest[:12]}); now measure it: python -m training evaluate --help"
