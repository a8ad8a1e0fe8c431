"""The names of YOLO classes: a name a line, or the `names` of a data.yaml."""

from __future__ import annotations

from pathlib import Path

import yaml

from splitnet.errors import ConfigError
from training.data.folders import read_text

MAX_BYTES = 1_000_000


def read_class_names(path: Path) -> tuple[str, ...]:
    """Return the names in order of their numbers; ConfigError if there are none, or one is there twice."""
    try:
        text = read_text(path, MAX_BYTES)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a list of classes: {error}") from error
    is_yaml = path.suffix.lower() in (".yaml", ".yml")
    names = _from_yaml(text, path) if is_yaml else [line.strip() for line in text.splitlines() if line.strip()]
    if not names or len(set(names)) != len(names):
        what = "a class twice" if names else "no classes"
        raise ConfigError(f"{path} has {what}; write one name a line into a .txt and give that")
    return tuple(names)


def _from_yaml(text: str, path: Path) -> list[str]:
    """Return the entries of `names`, a list or a mapping from 0 on; nothing if it is something else."""
    try:
        # Every scalar is a text: to YAML, a class named "no" or "1" would be a truth value or a number.
        content = yaml.load(text, yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, dict):
        names = [names.get(str(number)) for number in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        return []
    return [name.strip() for name in names]
