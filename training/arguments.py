"""Kinds of values on the command line: types and metadata for fields of settings (`splitnet.settings`)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def count(text: str) -> int:
    """Return a whole number from 1 on; argparse's error if it is none."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def share(text: str) -> float:
    """Return a number from 0 to below 1; argparse's error if it is none."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to below 1")
    return number


def a_count(text: str, *aliases: str) -> dict[str, Any]:
    """Return the metadata of a field that is a `count`. aliases: older spellings of its option."""
    return {"type": count, "metavar": "N", "help": text, "aliases": aliases}


def a_path(metavar: str, text: str, *aliases: str) -> dict[str, Any]:
    """Return the metadata of a field that is a path. aliases: older spellings of its option."""
    return {"type": Path, "metavar": metavar, "help": text, "aliases": aliases}


def some_paths(metavar: str, number: str, text: str, *aliases: str) -> dict[str, Any]:
    """Return the metadata of a field that is several paths. number: argparse's `nargs`, "+" or "*"."""
    return {**a_path(metavar, text, *aliases), "nargs": number}
