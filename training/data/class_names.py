"""Read the names of YOLO classes: a name a line, or the `names` of a data.yaml in its usual forms."""

from __future__ import annotations

import re
from pathlib import Path

from splitnet.errors import ConfigError

MAX_BYTES = 1_000_000
_NUMBERED = re.compile(r"\s+(\d+)\s*:\s*(.+)")
_LISTED = re.compile(r"\s*-\s*(.+)")


def read_class_names(path: Path) -> tuple[str, ...]:
    """Return the names in order of their numbers; ConfigError if there are none, or one is there twice."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path} is over {MAX_BYTES} bytes: not a list of classes")
        lines = path.read_text().splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    names = _from_yaml(lines) if path.suffix in (".yaml", ".yml") else [line.strip() for line in lines if line.strip()]
    if not names or len(set(names)) != len(names):
        what = "a class twice" if names else "no classes"
        raise ConfigError(f"{path} has {what}; write one name a line into a .txt and give that")
    return tuple(names)


def _from_yaml(lines: list[str]) -> list[str]:
    """Return `names` of the three forms in use; nothing if it is another one."""
    start = next((i for i, line in enumerate(lines) if line.startswith("names:")), None)
    if start is None:
        return []
    inline = lines[start].removeprefix("names:").strip()
    if inline:
        return [_plain(word) for word in inline.strip("[]").split(",")] if inline.startswith("[") else []
    numbered: dict[int, str] = {}
    listed = []
    for line in lines[start + 1 :]:
        if match := _LISTED.fullmatch(line):
            listed.append(_plain(match[1]))
        elif match := _NUMBERED.fullmatch(line):
            numbered[int(match[1])] = _plain(match[2])
        else:
            break
    if listed or sorted(numbered) != list(range(len(numbered))):
        return listed
    return [numbered[i] for i in range(len(numbered))]


def _plain(text: str) -> str:
    return text.strip().strip("'\"")
