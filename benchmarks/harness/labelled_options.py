"""Options of every benchmark on labelled images, and what must be right before a long one begins."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from benchmarks.harness.drawing import require_matplotlib
from splitnet.errors import ConfigError


def add_labelled(parser: ArgumentParser) -> None:
    """Add --images, --annotations and --limit."""
    add = parser.add_argument
    add("--images", type=Path, required=True, metavar="DIR", help="labelled images, never trained on")
    add("--annotations", type=Path, required=True, metavar="FILE", help="their COCO annotations")
    add("--limit", type=int, metavar="N", help="only the first N images: a quick look")


def check_drawn(options: Namespace, *counts: str) -> None:
    """Raise ConfigError if an option that counts is below 1, or if what --out asks for cannot be drawn."""
    for name in counts:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} must be at least 1, not {value}")
    if options.out is not None:
        require_matplotlib()
