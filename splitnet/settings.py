"""A command's settings are a frozen dataclass, and its command line is derived from it.

A field's metadata are keywords of `ArgumentParser.add_argument`, with `help` at least:

    threads: int = field(default=0, metadata={"help": "CPU threads; 0 lets torch choose"})

gives `--threads N`. The type is that of the default, unless the metadata name another. A bool, False unless
given, is a flag. A field without a default must be given.
"""

from __future__ import annotations

import argparse
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar

DEFAULT_BUNDLE = Path(__file__).resolve().parent.parent / "bundles" / "coco-nano"  # what is shipped

C = TypeVar("C")
_METAVARS = {int: "N", float: "X"}


def add_settings(parser: argparse.ArgumentParser, config: type[Any]) -> None:
    """Add one option per field of a config class, with its default and its help."""
    for setting in fields(config):
        default = None if setting.default is MISSING else setting.default
        keywords: dict[str, Any] = {"type": type(default), "required": setting.default is MISSING, **setting.metadata}
        if keywords["type"] is bool:
            del keywords["type"]
            keywords["action"] = "store_true"
        elif "choices" not in keywords:
            keywords.setdefault("metavar", _METAVARS.get(keywords["type"]))
        if default not in (None, "", False, ()):
            keywords["help"] += f" (default: {default})"
        parser.add_argument(f"--{setting.name.replace('_', '-')}", default=default, **keywords)


def read_settings(config: type[C], arguments: argparse.Namespace) -> C:
    """Return the config that parsed arguments describe. Raises what its constructor raises."""
    return config(**{name: getattr(arguments, name) for name in config.__dataclass_fields__})  # type: ignore[attr-defined]
